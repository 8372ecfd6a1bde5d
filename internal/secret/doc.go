// Package secret holds settings whose text may contain a password.
//
// A [Text] prints as a fixed word in every format, log and JSON document. Its
// text is read with [Text.Reveal] only where it is used. Errors about a Text
// never contain it, nor the text of a parser that read it: a URL that does not
// parse may hold its password anywhere.
//
// [Mask] is for the output of commands, where a user may have written a secret in
// the wrong place.
package secret
