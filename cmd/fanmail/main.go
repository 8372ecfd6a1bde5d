// Command fanmail is Fanmail for people: it runs all of it on one machine,
// sends mail into it, listens for webhooks, and calls the API.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"

	"github.com/fanmail-dev/fanmail/internal/app"
)

// cli is the command line.
type cli struct {
	Dir     string           `default:".fanmail" env:"FANMAIL_DIR" help:"Directory of 'fanmail up': its data and credentials.json."`
	Version kong.VersionFlag `hidden:""`

	Up         upCmd                     `cmd:"" help:"Run all of Fanmail in this process, for development."`
	Demo       demoCmd                   `cmd:"" help:"Run all of it, send a mail through it, and show the webhook arrive."`
	Send       sendCmd                   `cmd:"" help:"Send mail over SMTP."`
	Listen     listenCmd                 `cmd:"" help:"Make a webhook for a local receiver, and print what arrives."`
	Webhooks   webhooksCmd               `cmd:"" help:"List and change webhooks."`
	Agents     agentsCmd                 `cmd:"" help:"List and change agents, the addresses that receive mail."`
	Events     eventsCmd                 `cmd:"" help:"Read the event log, add to it, deliver again."`
	Deliveries deliveriesCmd             `cmd:"" help:"Look at deliveries, and retry them."`
	Replay     replayCmd                 `cmd:"" help:"Send past events again, and watch or cancel that."`
	Fanout     fanoutCmd                 `cmd:"" help:"For operators: the consumer that fans events out."`
	Keys       keysCmd                   `cmd:"" help:"List, make and revoke API keys."`
	Tenants    tenantsCmd                `cmd:"" help:"List and make tenants."`
	Stats      statsCmd                  `cmd:"" help:"Count deliveries, measure them, and see what waits."`
	Doctor     doctorCmd                 `cmd:"" help:"Check database, broker, streams, clocks and DNS, and say what to do."`
	Capacity   capacityCmd               `cmd:"" help:"Say what a load needs, and place tenants over databases."`
	Migrate    migrateCmd                `cmd:"" help:"Bring a database's schema up to date."`
	Maintain   maintainCmd               `cmd:"" help:"Make the tables' coming partitions, and drop what is over 30 days old, once."`
	Streams    streamsCmd                `cmd:"" help:"Make the broker's streams and consumers."`
	Completion kongcompletion.Completion `cmd:"" help:"Print what makes the shell complete these commands."`
}

// session is what a command works with.
type session struct {
	dir string
	in  io.Reader
	out io.Writer
	err io.Writer

	colours bool // on out

	line sync.Mutex
}

// note prints a line for people, beside what a script reads.
func (s *session) note(text string) {
	s.line.Lock()
	defer s.line.Unlock()
	_, _ = fmt.Fprintln(s.err, text)
}

// say prints a line; it may be called from several goroutines.
func (s *session) say(format string, args ...any) {
	s.line.Lock()
	defer s.line.Unlock()
	_, _ = fmt.Fprintf(s.out, format+"\n", args...)
}

func main() {
	if err := app.ArmFaults(); err != nil {
		fmt.Fprintln(os.Stderr, "fanmail:", err)
		os.Exit(1)
	}
	ctx, stop := app.Signals(context.Background())
	code := run(ctx, os.Args[1:], &session{in: os.Stdin, out: os.Stdout, err: os.Stderr, colours: coloured(os.Stdout)})
	stop()
	os.Exit(code)
}

// run is main without the process: it gives the exit code.
func run(ctx context.Context, args []string, s *session) int {
	var c cli
	k, err := kong.New(&c, kong.Name("fanmail"),
		kong.Description("Inbound mail as signed webhooks; nothing is lost on the way."),
		kong.Vars{"version": app.Version()}, kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(s.out, s.err))
	if err != nil {
		return s.fail(err)
	}
	// Answers the shell where it asks what a command line could become.
	kongcompletion.Register(k)
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := k.Parse(args)
	if err != nil {
		return s.fail(err)
	}
	s.dir = c.Dir
	command.BindTo(ctx, (*context.Context)(nil))
	if err := command.Run(s); err != nil {
		return s.fail(err)
	}
	return 0
}

func (s *session) fail(err error) int {
	_, _ = fmt.Fprintf(s.err, "fanmail: %s\n", strings.Join(strings.Fields(err.Error()), " "))
	return 1
}
