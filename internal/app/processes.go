package app

// Process is one of Fanmail's processes: a command of its own.
type Process struct {
	Name, Description string
	HTTPAddr          string // the default of --http-addr
	Config            any    // a pointer to the zero configuration, for package kong
}

// Processes are all processes, in the order in which an event passes them. maintain is a command of fanmail.
func Processes() []Process {
	return []Process{
		{"ingest", "Takes mail in over SMTP, and events from the broker.", "127.0.0.1:9103", &IngestConfig{}},
		{"publisher", "Relays the outbox to the broker.", "127.0.0.1:9101", &PublisherConfig{}},
		{"dispatcher", "Fans events out to webhooks and delivers them.", "127.0.0.1:9102", &DispatcherConfig{}},
		{"api", "Serves the HTTP API.", "127.0.0.1:9104", &APIConfig{}},
	}
}

// described is the process of the name. Only the names of [Processes] have one.
func described(name string) Process {
	for _, p := range Processes() {
		if p.Name == name {
			return p
		}
	}
	return Process{Name: name}
}
