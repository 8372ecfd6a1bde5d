// Package domaincheck checks what a mail domain needs so that mail reaches it: its MX
// records, the addresses of the MX hosts and their PTR records, the SMTP servers on port
// 25 with their certificates, and the domain's SPF and DMARC records.
//
// It guarantees:
//
//   - [Check] ends within [Timeout]. Each lookup and each conversation has a shorter limit
//     of its own, and the finding names what did not come.
//   - The number of hosts, addresses and names that are looked at is bounded.
//   - Text from DNS, certificates and SMTP servers is escaped in findings.
//   - No mail is sent. A conversation ends after RCPT.
package domaincheck
