// Package browser proves the console in Chromium: its tests start `fanmail up`, sign in as people do, and walk the pages
// while real mail arrives over SMTP and real HTTP receivers answer. It guarantees:
//
//   - Each test has a browser context and tenants of its own; all tests share one Fanmail and one Chromium.
//   - A test fails if a page of it logs an error, throws, opens a dialog, breaks its Content-Security-Policy, or asks
//     another origin for anything, unless the test allows that very fault.
//   - Texts of strangers, on each page that shows them, run nothing and load nothing.
//   - axe-core finds nothing serious on any page.
package browser
