package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/posener/complete"

	"github.com/fanmail-dev/fanmail/events"
)

// printHelp prints the help of a command, and at its end the examples of the tag example:"…", which has one on each line.
func printHelp(options kong.HelpOptions, k *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, k); err != nil {
		return err
	}
	command := k.Selected()
	if command == nil {
		return nil
	}
	if list := examples(command); len(list) > 0 {
		_, err := fmt.Fprintf(k.Stdout, "\nExamples:\n  %s\n", strings.Join(list, "\n  "))
		return err
	}
	return nil
}

// examples are the command lines of a command's help.
func examples(command *kong.Node) []string {
	if command.Tag == nil || command.Tag.Get("example") == "" {
		return nil
	}
	return strings.Split(command.Tag.Get("example"), "\n")
}

// predictors are the values that the shell completes, by the tag predictor:"NAME". They are not enums of package kong:
// the server knows which values there are, and may know more.
func predictors() map[string]complete.Predictor {
	var types []string
	for _, t := range events.Catalogue() {
		types = append(types, string(t))
	}
	return map[string]complete.Predictor{
		"type":     complete.PredictSet(types...),
		"types":    complete.PredictSet(append(types, "*")...),
		"status":   complete.PredictSet("pending", "delivered", "failed"),
		"ordering": complete.PredictSet("none", "strict"),
		"role":     complete.PredictSet("admin", "write", "replay", "read", "send-only", "consume"),
		"kind":     complete.PredictSet("push", "pull", "nats"),
		"language": complete.PredictSet("en", "de"),
		"file":     complete.PredictFiles("*"),
	}
}
