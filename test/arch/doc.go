// Package arch holds the rules of how this repository's packages may depend on
// each other and what its files may hold, and tests the repository against
// them.
//
// A rule is data with the reason for it; [Check] applies all of them to any
// file tree, so that each rule is tested on a tree that breaks it.
package arch
