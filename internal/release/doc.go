// Package release holds the number of the release that these sources are, in the file VERSION. Commands, the OpenAPI
// document, packages and images take it from there. The chart and the packages of other languages can't; a test compares
// them. A tag is "v" and this number.
package release
