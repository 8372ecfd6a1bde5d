package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/test/process"
)

const postfixName = "postfix"

// postfix is Debian's Postfix with its defaults, in a folder of its own. It delivers to its discard transport. Running it
// needs root, because its processes run as its own user.
type postfix struct {
	conf, queue string
	pid         string
}

func (*postfix) Name() string { return postfixName }

const postfixMain = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
command_directory = /usr/sbin
maillog_file = %[1]s/mail.log
maillog_file_prefixes = %[1]s
myhostname = bench.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relay_domains = bench.example
relay_transport = discard:
smtpd_relay_restrictions = permit_mynetworks, reject
message_size_limit = 36700160
`

const postfixMaster = `%s inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`

// Start implements [smtpServer].
func (p *postfix) Start(ctx context.Context, dir string, _ bool) (string, error) {
	addr, err := process.FreeAddr()
	if err != nil {
		return "", err
	}
	owner, err := user.Lookup("postfix")
	if err != nil {
		return "", fmt.Errorf("find Postfix's user: %w (run scripts/postfix.sh)", err)
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return "", fmt.Errorf("find Postfix's user: %w", err)
	}
	p.conf, p.queue = filepath.Join(dir, "conf"), filepath.Join(dir, "queue")
	data := filepath.Join(dir, "data")
	for _, d := range []string{p.conf, p.queue, data} {
		if err := os.Mkdir(d, 0o755); err != nil { //nolint:gosec // Postfix's user reads them
			return "", fmt.Errorf("make Postfix's folders: %w", err)
		}
	}
	err = errors.Join(os.Chmod(dir, 0o755), os.Chown(data, uid, -1), //nolint:gosec // as above
		os.WriteFile(filepath.Join(p.conf, "main.cf"), fmt.Appendf(nil, postfixMain, dir), 0o644),      //nolint:gosec // as above
		os.WriteFile(filepath.Join(p.conf, "master.cf"), fmt.Appendf(nil, postfixMaster, addr), 0o644)) //nolint:gosec // as above
	if err != nil {
		return "", fmt.Errorf("configure Postfix: %w", err)
	}
	if err := p.control(ctx, "start"); err != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(p.queue, "pid", "master.pid"))
	if err != nil {
		return "", fmt.Errorf("find Postfix's process: %w", err)
	}
	p.pid = strings.TrimSpace(string(b))
	ask := func() error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	return addr, backoff.Retry(ask, backoff.WithContext(backoff.WithMaxRetries(backoff.NewConstantBackOff(50*time.Millisecond), 200), ctx))
}

func (p *postfix) control(ctx context.Context, command string) error {
	out, err := exec.CommandContext(ctx, "/usr/sbin/postfix", "-c", p.conf, command).CombinedOutput() //nolint:gosec // our own folder
	if err != nil {
		return fmt.Errorf("postfix %s: %w: %s", command, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Settle implements [smtpServer]. The queue is empty when all mails are delivered.
func (p *postfix) Settle(ctx context.Context, _ int) error {
	ask := func() error {
		for _, queue := range []string{"incoming", "active", "deferred", "maildrop"} {
			err := filepath.WalkDir(filepath.Join(p.queue, queue), func(path string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					err = fmt.Errorf("%s is still in the queue", path)
				}
				return err
			})
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	}
	return backoff.Retry(ask, backoff.WithContext(backoff.WithMaxRetries(backoff.NewConstantBackOff(20*time.Millisecond), 3000), ctx))
}

// CPU implements [smtpServer]. The master's figure holds those of its children that have ended.
func (p *postfix) CPU() (map[string]float64, error) {
	cpu, err := cpuOfFamily(p.pid)
	return map[string]float64{postfixName: cpu}, err
}

// Memory implements [smtpServer].
func (p *postfix) Memory() (map[string]float64, error) {
	now, err := residentOfFamily(p.pid)
	return map[string]float64{postfixName: now}, err
}

// Stop implements [smtpServer].
func (p *postfix) Stop(ctx context.Context) error {
	if p.conf == "" {
		return nil
	}
	return p.control(ctx, "stop")
}

// smtpFanmail is one ingest with its Postgres and broker. Nothing takes the events from the outbox.
type smtpFanmail struct {
	bin, profile string
	pg           *postgres
	health       string
	processes    []*process.Process
	stopped      chan error // of the profile
}

func buildSMTP(ctx context.Context, bin string) error {
	return process.Build(ctx, bin, "test/natsd", "cmd/ingest")
}

func (*smtpFanmail) Name() string { return "fanmail" }

// Start implements [smtpServer]. DNS is not asked, because Postfix does not authenticate senders either.
func (f *smtpFanmail) Start(ctx context.Context, dir string, large bool) (_ string, err error) {
	if f.pg, err = startPostgres(ctx, dir); err != nil {
		return "", err
	}
	var addrs [3]string
	for i := range addrs {
		if addrs[i], err = process.FreeAddr(); err != nil {
			return "", err
		}
	}
	addr, broker, health := addrs[0], addrs[1], addrs[2]
	f.health = "http://" + health
	_, port, err := net.SplitHostPort(broker)
	if err != nil {
		return "", err
	}
	buffered := 1 << 30
	if large {
		buffered = 16 << 30 // one client may have half
	}
	for _, spec := range []process.Spec{
		{Name: "natsd", Args: []string{"-dir", filepath.Join(dir, "nats"), "-port", port, "-sync"}, Ready: broker},
		{Name: "ingest", Ready: f.health + "/readyz", Env: []string{
			"FANMAIL_DATABASE_URL=" + f.pg.url(), "FANMAIL_NATS_URL=nats://" + broker, "FANMAIL_MIGRATE=true", "FANMAIL_MAIL_AUTH=false",
			"FANMAIL_SMTP_ADDR=" + addr, "FANMAIL_HTTP_ADDR=" + health, "FANMAIL_PPROF=true", "FANMAIL_SPOOL_DIR=" + dir,
			"FANMAIL_MAX_BUFFERED_BYTES=" + strconv.Itoa(buffered),
		}},
	} {
		spec.Bin, spec.Logs = filepath.Join(f.bin, spec.Name), dir
		p, err := process.Start(ctx, spec)
		if err != nil {
			return "", err
		}
		f.processes = append(f.processes, p)
	}
	owner := events.NewRandom[events.TenantKind]()
	if _, err := f.pg.pool.Exec(ctx, `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'bench')`, owner); err != nil {
		return "", fmt.Errorf("make the agent: %w", err)
	}
	if _, err := f.pg.pool.Exec(ctx, `INSERT INTO fanmail.agents (address, tenant_id) VALUES ($1, $2)`, smtpAgent, owner); err != nil {
		return "", fmt.Errorf("make the agent: %w", err)
	}
	return addr, nil
}

// Settle implements [smtpServer]. It checks that each mail is there and in the outbox.
func (f *smtpFanmail) Settle(ctx context.Context, mails int) error {
	var messages, raws, outbox int
	err := f.pg.pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM fanmail.messages), (SELECT count(*) FROM fanmail.message_raws), (SELECT count(*) FROM fanmail.outbox)`).
		Scan(&messages, &raws, &outbox)
	if err == nil && (messages != mails || raws != mails || outbox != mails) {
		err = fmt.Errorf("%d messages, %d raw mails and %d outbox rows of %d mails", messages, raws, outbox, mails)
	}
	if err == nil && mails > 0 && f.stopped != nil {
		return <-f.stopped
	}
	if err == nil && f.profile != "" {
		f.stopped = make(chan error, 1)
		go func() { f.stopped <- fetchProfile(context.WithoutCancel(ctx), f.health, 2*time.Second, f.profile) }()
	}
	return err
}

// CPU implements [smtpServer].
func (f *smtpFanmail) CPU() (map[string]float64, error) {
	out := map[string]float64{}
	var err error
	if out["postgres"], err = cpuOfFamily(f.pg.pid); err != nil {
		return nil, err
	}
	for _, p := range f.processes {
		if out[p.Name], err = cpuOf(strconv.Itoa(p.PID())); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Memory implements [smtpServer].
func (f *smtpFanmail) Memory() (map[string]float64, error) { return memoryOf(f.pg, f.processes) }

// Stop implements [smtpServer].
func (f *smtpFanmail) Stop(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("it did not end within 30 s"))
	defer cancel()
	for i := len(f.processes) - 1; i >= 0; i-- {
		err = errors.Join(err, f.processes[i].Stop(ctx))
	}
	if f.pg != nil {
		f.pg.stop()
	}
	return err
}
