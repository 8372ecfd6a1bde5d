//go:build milters

package ingest_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
	"github.com/fanmail-dev/fanmail/internal/ingest"
)

// folder gives a folder that the user of the filters owns. Their configuration is in it.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fanmail-milter-") //nolint:usetesting // another user must enter it
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	files["."] = ""
	for name, content := range files {
		path := filepath.Join(dir, name)
		if name != "." {
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(content, "DIR", dir)), 0o600))
		}
		if c := nobody(t); c != nil {
			require.NoError(t, os.Chown(path, int(c.Uid), int(c.Gid)))
			require.NoError(t, os.Chown(filepath.Dir(path), int(c.Uid), int(c.Gid)))
		}
	}
	return dir
}

// nobody is the user of the filters if the test runs as root; nil otherwise.
func nobody(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("nobody")
	require.NoError(t, err)
	uid, err := strconv.Atoi(u.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(u.Gid)
	require.NoError(t, err)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// port gives a free port.
func port(t *testing.T) string {
	t.Helper()
	p, err := freeport.Find()
	require.NoError(t, err)
	return strconv.Itoa(p)
}

// start runs a program until the test ends, and waits until it listens on the port of loopback.
func start(t *testing.T, port, program string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		path = "/usr/sbin/" + program
	}
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: nobody(t), Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start(), "install the filters with scripts/milters.sh")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
		if t.Failed() {
			t.Logf("%s: %s", program, out.String())
		}
	})
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return false
		}
		return c.Close() == nil
	}, 3*patience, 50*time.Millisecond, "%s listens", program)
}

// rspamd runs rspamd with one rule of its own: a subject with "offer" has 7.5 points, and 6 make a mail spam.
func rspamd(t *testing.T) string {
	t.Helper()
	p := port(t)
	dir := folder(t, map[string]string{
		"tld": "com\norg\nexample\n",
		"rules.lua": `rspamd_config:register_symbol({ name = 'OFFER', score = 7.5, callback = function(task)
			return (task:get_header('Subject') or ''):find('offer') ~= nil end })`,
		"rspamd.conf": `options {
				pidfile = "DIR/pid"; control_socket = "DIR/control mode=0600"; tempdir = "DIR"; hs_cache_dir = "DIR"; url_tld = "DIR/tld"; filters = "";
				dns { nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }
			}
			logging { type = "console"; level = "notice"; }
			actions { reject = 15; add_header = 6; }
			lua = "DIR/rules.lua";
			modules { path = "/usr/share/rspamd/plugins/milter_headers.lua"; }
			milter_headers { use = ["x-spamd-result", "x-spam-status"]; skip_local = false; extended_spam_headers = true; }
			worker "rspamd_proxy" { bind_socket = "127.0.0.1:` + p + `"; milter = yes; count = 1; upstream "local" { default = yes; self_scan = yes; } }`,
	})
	args := []string{"-f", "-c", dir + "/rspamd.conf"}
	start(t, p, "rspamd", args...)
	return "inet:127.0.0.1:" + p + "?name=rspamd"
}

// eicar is the test file of virus scanners.
const eicar = `X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*`

// clamav runs clamd with a signature of eicar alone, and two milters: one quarantines, the other refuses.
func clamav(t *testing.T) (quarantines, refuses string) {
	t.Helper()
	scanner, first, second := port(t), port(t), port(t)
	config := func(port, action string) string {
		return fmt.Sprintf("Foreground yes\nMilterSocket inet:%s@127.0.0.1\nClamdSocket tcp:127.0.0.1:%s\nOnInfected %s\nAddHeader Replace\nTemporaryDirectory DIR\n", port, scanner, action)
	}
	dir := folder(t, map[string]string{
		"db/own.ndb":      fmt.Sprintf("Fanmail.Eicar:0:*:%x\n", eicar),
		"clamd.conf":      "Foreground yes\nTCPAddr 127.0.0.1\nTCPSocket " + scanner + "\nDatabaseDirectory DIR/db\nTemporaryDirectory DIR\n",
		"quarantine.conf": config(first, "Quarantine"),
		"refuse.conf":     config(second, "Reject\nRejectMsg has %v"),
	})
	start(t, scanner, "clamd", "-c", dir+"/clamd.conf")
	start(t, first, "clamav-milter", "-c", dir+"/quarantine.conf")
	start(t, second, "clamav-milter", "-c", dir+"/refuse.conf")
	return "inet:127.0.0.1:" + first + "?name=clamav", "inet:127.0.0.1:" + second + "?name=clamav"
}

// opendkim runs OpenDKIM, which verifies with one public key.
func opendkim(t *testing.T, key *rsa.PublicKey) string {
	t.Helper()
	p := port(t)
	der, err := x509.MarshalPKIXPublicKey(key)
	require.NoError(t, err)
	dir := folder(t, map[string]string{
		"keys": "s1._domainkey.example.org v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der) + "\n",
		"conf": "Mode v\nSyslog no\nBackground no\nSocket inet:" + p + "@127.0.0.1\nAuthservID mx.example.com\nAlwaysAddARHeader yes\nTestPublicKeys DIR/keys\nPidFile DIR/pid\n",
	})
	start(t, p, "opendkim", "-f", "-x", dir+"/conf")
	return "inet:127.0.0.1:" + p + "?name=opendkim"
}

// signed signs a mail so that any change to a header field's spaces or to the body breaks the signature.
func signed(t *testing.T, key *rsa.PrivateKey, mail string) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, dkim.Sign(&out, strings.NewReader(mail), &dkim.SignOptions{
		Domain: "example.org", Selector: "s1", Signer: key, HeaderCanonicalization: dkim.CanonicalizationSimple, BodyCanonicalization: dkim.CanonicalizationSimple,
		HeaderKeys: []string{"From", "Subject", "X-Folded"},
	}))
	return out.String()
}

func header(m email.Milter, name string) string {
	for _, h := range m.Headers {
		if strings.EqualFold(h[0], name) {
			return h[1]
		}
	}
	return ""
}

func TestRealMiltersDecideAboutMail(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	quarantines, refuses := clamav(t)
	pool, s := filtered(t, ingest.Options{Domain: "mx.example.com"}, rspamd(t), quarantines, opendkim(t, &key.PublicKey))
	w := hello(t, s)
	send := func(code int, subject, mail string) (reply string, got []stored) {
		w.begin("a@example.com")
		reply = w.bdat(code, []byte(mail))
		return reply, about(t, pool, subject)
	}
	plain := func(subject, body string) string {
		return "From: s@example.org\r\nSubject: " + subject + "\r\nMessage-ID: <" + strconv.Itoa(len(subject)) + "@example.org>\r\nX-Folded:  two spaces\r\n\tand a fold  \r\n\r\n" + body + "\r\n"
	}

	reply, _ := send(554, "gtube", plain("gtube", "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"))
	require.Contains(t, strings.ToLower(reply), "gtube")
	require.Empty(t, mails(t, pool))

	_, got := send(250, "an offer", plain("an offer", "hello"))
	require.Len(t, got, 1)
	require.InDelta(t, 7.5, *got[0].Data.Milters[0].Score, .01)
	require.True(t, *got[0].Data.Milters[0].Spam)
	require.Contains(t, string(got[0].Raw), "X-Spamd-Result: ")

	large := strings.Repeat("0123456789abcdef\r\n", 3<<20/18)
	_, got = send(250, "clean", signed(t, key, "Authentication-Results: mx.example.com; dkim=pass header.d=bank.example\r\n"+plain("clean", large)))
	require.Len(t, got, 1)
	list := got[0].Data.Milters
	require.InDelta(t, 0, *list[0].Score, .01)
	require.False(t, *list[0].Spam)
	require.Equal(t, "Clean", header(list[1], "X-Virus-Status"))
	require.Contains(t, header(list[2], "Authentication-Results"), "dkim=pass")
	require.Contains(t, header(list[2], "Authentication-Results"), "header.d=example.org")
	require.Equal(t, 1, strings.Count(string(got[0].Raw), "\nAuthentication-Results:")+strings.Count(string(got[0].Raw[:30]), "Authentication-Results:"))
	require.Contains(t, string(got[0].Raw), "Authentication-Results-Original: mx.example.com; dkim=pass header.d=bank.example\r\n")
	require.True(t, strings.HasSuffix(string(got[0].Raw), "\r\n\r\n"+large+"\r\n"))
	require.False(t, got[0].Data.Quarantined)

	_, got = send(250, "infected", plain("infected", eicar))
	require.Len(t, got, 1)
	require.True(t, got[0].Data.Quarantined)
	require.Equal(t, email.MilterQuarantine, got[0].Data.Milters[1].Action)
	require.Contains(t, header(got[0].Data.Milters[1], "X-Virus-Status"), "Fanmail.Eicar")

	strict := hello(t, filtering(t, pool, ingest.Options{}, refuses))
	strict.begin("a@example.com")
	require.Contains(t, strict.bdat(550, []byte(plain("refused", eicar))), "Fanmail.Eicar")
	require.Empty(t, about(t, pool, "refused"))
}
