// Command fanmail is the command line of Fanmail. It runs all of Fanmail in one
// process, sends mail, receives webhooks, calls the API and does the work of
// operators. Commands print results on standard output, and messages for people
// on standard error. The exit code is 0 or 1.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"

	"github.com/fanmail-dev/fanmail/internal/app"
)

// cli is the command line.
type cli struct {
	Dir     string           `default:".fanmail" env:"FANMAIL_DIR" help:"Directory of 'fanmail up', with its data and credentials.json."`
	Version kong.VersionFlag `hidden:""`

	Up          upCmd                     `cmd:"" help:"Run all of Fanmail in this process, for development."`
	Demo        demoCmd                   `cmd:"" help:"Run all of Fanmail, send a mail, and show the webhook that arrives."`
	Send        sendCmd                   `cmd:"" help:"Send mail over SMTP."`
	Listen      listenCmd                 `cmd:"" help:"Create a webhook to a local receiver, and print what it receives."`
	Webhooks    webhooksCmd               `cmd:"" help:"List, create, change and test webhooks."`
	Agents      agentsCmd                 `cmd:"" help:"List, create and change agents, the addresses that receive mail."`
	Domains     domainsCmd                `cmd:"" help:"List, add, verify and delete domains of mail addresses."`
	Events      eventsCmd                 `cmd:"" help:"Read, create and redeliver events."`
	Deliveries  deliveriesCmd             `cmd:"" help:"Read and retry deliveries."`
	Messages    messagesCmd               `cmd:"" help:"Read messages, and deliver them to the agents' own webhooks."`
	Replay      replayCmd                 `cmd:"" help:"Replay past events."`
	Fanout      fanoutCmd                 `cmd:"" help:"Reset the consumer that fans events out (for operators)."`
	Import      importCmd                 `cmd:"" help:"Import from another system (for operators)."`
	Keys        keysCmd                   `cmd:"" help:"List, create and revoke API keys."`
	PortalLinks portalLinksCmd            `cmd:"" name:"portal-links" help:"List, create and revoke links that show webhooks to customers."`
	Audit       auditCmd                  `cmd:"" help:"List who changed what, when and from which address."`
	Tenants     tenantsCmd                `cmd:"" help:"List and create tenants."`
	Activity    activityCmd               `cmd:"" help:"Print the deliveries over time, and what waits."`
	Stats       statsCmd                  `cmd:"" help:"Print counts, latencies and the backlog of deliveries."`
	Secrets     secretsCmd                `cmd:"" help:"Encrypt secrets in the database, and manage the keys (for operators)."`
	Console     consoleCmd                `cmd:"" help:"Print a link that signs a browser in to the console."`
	Doctor      doctorCmd                 `cmd:"" help:"Check database, broker, streams, clocks and DNS, and a mail domain where --domain names one, and print the fixes."`
	Top         topCmd                    `cmd:"" help:"Show which tenants, webhooks or agents are most active, again and again (for operators)."`
	Status      statusCmd                 `cmd:"" help:"Print how each process stands: the last error of each component, its age and its remedy."`
	Capacity    capacityCmd               `cmd:"" help:"Plan the machines for a load, and place tenants on databases."`
	Migrate     migrateCmd                `cmd:"" help:"Create or migrate a database's schema."`
	Maintain    maintainCmd               `cmd:"" help:"Run one round of maintenance: create the next partitions, drop expired ones."`
	Streams     streamsCmd                `cmd:"" help:"Create the broker's streams and consumers."`
	NATSUser    natsUserCmd               `cmd:"" name:"nats-user" help:"Print a NATS account whose user may publish events of one tenant."`
	Completion  kongcompletion.Completion `cmd:"" help:"Print the shell's completion script."`
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

// run runs a command and returns the exit code.
func run(ctx context.Context, args []string, s *session) int {
	app.NameVariables()
	var c cli
	k, err := kong.New(&c, kong.Name("fanmail"),
		kong.Description("Fanmail turns inbound mail into signed webhooks."),
		kong.Vars{"version": app.Version()}, kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(s.out, s.err))
	if err != nil {
		return s.fail(err)
	}
	// If the shell asks for completions, this prints them and exits.
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
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = fmt.Errorf("%s: stopped before it was done; run it again", command.Command())
		}
		return s.fail(err)
	}
	return 0
}
