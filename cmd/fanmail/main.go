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
	Dir   string           `default:".fanmail" env:"FANMAIL_DIR" help:"Directory of 'fanmail up', with its data and credentials.json."`
	Print kong.VersionFlag `name:"version" hidden:""`

	Up          upCmd                     `cmd:"" help:"Run all of Fanmail in this process, for development." example:"fanmail up\nfanmail --dir /var/lib/fanmail up --smtp 0.0.0.0:2525"`
	Demo        demoCmd                   `cmd:"" help:"Run all of Fanmail, send a mail, and show the webhook that arrives." example:"fanmail demo --stay"`
	Send        sendCmd                   `cmd:"" help:"Send mail over SMTP." example:"fanmail send --to robot@example.com\nfanmail send hello.eml --to robot@example.com --count 100 --concurrency 4"`
	Listen      listenCmd                 `cmd:"" help:"Create a webhook to a local receiver, and print what it receives." example:"fanmail listen --verbose\nfanmail listen --events email.received --forward http://127.0.0.1:3000/hook"`
	Webhooks    webhooksCmd               `cmd:"" help:"List, create, change and test webhooks."`
	Agents      agentsCmd                 `cmd:"" help:"List, create and change agents, the addresses that receive mail."`
	Domains     domainsCmd                `cmd:"" help:"List, create, verify and delete domains of mail addresses."`
	Events      eventsCmd                 `cmd:"" help:"Read, create and redeliver events."`
	EventTypes  eventTypesCmd             `cmd:"" name:"event-types" help:"List, create and change event types of your own."`
	Deliveries  deliveriesCmd             `cmd:"" help:"Read and retry deliveries."`
	Messages    messagesCmd               `cmd:"" help:"Read messages, and deliver them to the agents' own webhooks."`
	Erasures    erasuresCmd               `cmd:"" help:"Erase all mail from and to an address, and see what was removed."`
	Replay      replayCmd                 `cmd:"" aliases:"replays" help:"Replay past events."`
	Fanout      fanoutCmd                 `cmd:"" help:"Reset the consumer that fans events out (for operators)."`
	Import      importCmd                 `cmd:"" help:"Import from another system or installation (for operators)."`
	Export      exportCmd                 `cmd:"" help:"Write a tenant's settings and events to a file of JSON Lines." example:"fanmail export --what configuration\nfanmail export --since 24h"`
	Keys        keysCmd                   `cmd:"" help:"List, create and revoke API keys."`
	PortalLinks portalLinksCmd            `cmd:"" name:"portal-links" help:"List, create and revoke links that show webhooks to customers."`
	Audit       auditCmd                  `cmd:"" help:"List who changed what, when and from which address." example:"fanmail audit --since 24h\nfanmail audit --object wh_0f6200056df917f91703ed6603d47d0e"`
	Tenants     tenantsCmd                `cmd:"" help:"List and create tenants."`
	Activity    activityCmd               `cmd:"" help:"Print the deliveries over time, and what waits." example:"fanmail activity --window 7d"`
	Stats       statsCmd                  `cmd:"" help:"Print counts, latencies and the backlog of deliveries." example:"fanmail stats --window 24h\nfanmail stats --webhook wh_0f6200056df917f91703ed6603d47d0e"`
	Secrets     secretsCmd                `cmd:"" help:"Encrypt secrets in the database, and manage the keys (for operators)."`
	Console     consoleCmd                `cmd:"" help:"Print a link that signs a browser in to the console." example:"fanmail console"`
	Doctor      doctorCmd                 `cmd:"" help:"Check database, broker, streams, clocks and DNS, and a mail domain where --domain names one, and print the fixes." example:"fanmail doctor --domain example.com"`
	Top         topCmd                    `cmd:"" help:"Show which tenants, webhooks or agents are most active, again and again (for operators)." example:"fanmail top --by webhook --order backlog --once"`
	Status      statusCmd                 `cmd:"" help:"Print how each process stands: the last error of each component, its age and its remedy." example:"fanmail status --json"`
	Capacity    capacityCmd               `cmd:"" help:"Plan the machines for a load, and place tenants on databases."`
	Migrate     migrateCmd                `cmd:"" help:"Create or migrate a database's schema." example:"fanmail migrate --database-url postgres://fanmail@db.example.com/fanmail --grants"`
	Maintain    maintainCmd               `cmd:"" help:"Run one round of maintenance: create the next partitions, drop expired ones." example:"fanmail maintain --database-url postgres://fanmail@db.example.com/fanmail --every 5m"`
	Streams     streamsCmd                `cmd:"" help:"Create the broker's streams and consumers." example:"fanmail streams --nats-url nats://nats.example.com:4222"`
	NATSUser    natsUserCmd               `cmd:"" name:"nats-user" help:"Print a NATS account whose user may publish events of one tenant." example:"fanmail nats-user ten_adc7fce8dd71a9ff092a905e3b48f4fa"`
	MCP         mcpCmd                    `cmd:"" name:"mcp" help:"Let an assistant find events and say why one was not delivered, over the Model Context Protocol." example:"fanmail mcp --allow-changes"`
	Version     versionCmd                `cmd:"" help:"Print the version of this program." example:"fanmail version --json"`
	Man         manCmd                    `cmd:"" hidden:"" help:"Write the manual pages into a directory." example:"fanmail man ./man"`
	Completion  kongcompletion.Completion `cmd:"" help:"Print the shell's completion script." example:"fanmail completion bash"`
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
		kong.Vars{"version": app.Build()}, app.SecretFiles(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Help(printHelp),
		kong.Writers(s.out, s.err))
	if err != nil {
		return s.fail(err)
	}
	// If the shell asks for completions, this prints them and exits.
	kongcompletion.Register(k, kongcompletion.WithPredictors(predictors()))
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := k.Parse(args)
	if err == nil {
		err = checkIDs(command)
	}
	if err != nil {
		return s.fail(suggest(err, args))
	}
	s.dir = c.Dir
	command.BindTo(ctx, (*context.Context)(nil))
	if err := command.Run(s); err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = fmt.Errorf("%s: stopped before it was done; run it again", command.Command())
		}
		return s.fail(suggest(err, args))
	}
	return 0
}
