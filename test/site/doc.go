// Package site checks the pages as a built site, in bin/docs: that each link leads somewhere, that a reader's browser
// asks nobody else, and that what newcomers ask first is answered within two clicks. `make docs` builds the site and
// runs the tests, which need the build tag "site".
package site
