package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
)

//go:embed assets/*.css assets/*.js assets/*.svg
var assetFiles embed.FS

//go:embed pages/*.html
var pageFiles embed.FS

// assets are the files that pages load. The path of a file holds its hash, so that a
// browser may keep it for ever.
type assets struct {
	files map[string]asset  // by the path below /assets/
	paths map[string]string // by name
}

type asset struct {
	contentType string
	content     []byte
}

func newAssets() (*assets, error) {
	names, err := fs.Glob(assetFiles, "assets/*")
	if err != nil {
		return nil, fmt.Errorf("list the console's assets: %w", err)
	}
	a := &assets{files: map[string]asset{}, paths: map[string]string{}}
	for _, name := range names {
		content, err := assetFiles.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read an asset of the console: %w", err)
		}
		sum := sha256.Sum256(content)
		short := path.Base(name)
		at := hex.EncodeToString(sum[:8]) + "/" + short
		a.files[at] = asset{contentType: mime.TypeByExtension(path.Ext(short)), content: content}
		a.paths[short] = "/assets/" + at
	}
	return a, nil
}

// serve answers a request for the file at a path below /assets/.
func (a *assets) serve(w http.ResponseWriter, at string) {
	file, ok := a.files[at]
	if !ok {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", file.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(file.content)
}
