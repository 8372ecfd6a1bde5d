// Package setting names settings in texts for people. The processes read their
// settings from variables and flags; a program that embeds Fanmail has the options of
// package fanmail, and never sees a variable.
package setting
