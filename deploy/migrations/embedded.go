package migrations

import (
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed *.sql
var files embed.FS

// Version is the newest migration embedded in this build.
func Version() (int64, error) {
	all, err := versions()
	if err != nil {
		return 0, err
	}
	return all[len(all)-1], nil
}

// versions of the embedded migrations, rising.
func versions() ([]int64, error) {
	names, err := fs.Glob(files, "*.sql") // sorted
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("no embedded migrations: %w", err)
	}
	all := make([]int64, len(names))
	for i, name := range names {
		if all[i], err = goose.NumericComponent(name); err != nil {
			return nil, fmt.Errorf("read the embedded migrations: %w", err)
		}
	}
	return all, nil
}
