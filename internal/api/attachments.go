package api

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/mailparse"
)

// readAttachmentTimeout bounds reading and decoding a message.
const readAttachmentTimeout = time.Minute

type attachmentPath struct {
	ID events.MessageID `path:"id"`
	N  int              `path:"n" minimum:"0" maximum:"9999" doc:"The index in the event's list of attachments, from 0."`
}

func (s *server) attachmentRoutes() {
	register(s, tenants, huma.Operation{
		OperationID: "get-attachment", Method: http.MethodGet, Path: "/v1/messages/{id}/attachments/{n}", Summary: "Read an attachment",
		Description: "The decoded content, always as a download. The media type is the one that the sender claims, except for types that a browser could run.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The decoded content.",
			Content:     map[string]*huma.MediaType{"*/*": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
		}},
		Errors: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests, http.StatusBadGateway},
	}, s.attachment)
}

func (s *server) attachment(ctx context.Context, in *attachmentPath) (*streamed, error) {
	m, err := mailbox.GetMessage(ctx, s.pool, tenant(ctx), in.ID)
	if err != nil {
		return nil, err // no rows: 404
	}
	release, ok := s.memory.take(tenant(ctx), 2*m.Raw.Size)
	if !ok {
		return nil, problem(http.StatusTooManyRequests, "too many attachments are being read: the limit is %d bytes of messages and their parts for each tenant, and %d for all tenants",
			tenantAttachmentBytes, attachmentBytes)
	}
	streaming := false // the response then releases the memory
	defer func() {
		if !streaming {
			release()
		}
	}()
	reading, cancel := context.WithTimeoutCause(ctx, readAttachmentTimeout, fmt.Errorf("reading an attachment took over %s", readAttachmentTimeout))
	defer cancel()
	mail, err := m.Raw.Whole(reading, s.pool, s.blobs)
	if err != nil {
		return nil, s.unreadable(err)
	}
	about, content, err := mailparse.ReadAttachment(reading, mail, in.N)
	if errors.Is(err, mailparse.ErrNoAttachment) {
		return nil, problem(http.StatusNotFound, "%v", err)
	}
	if err != nil {
		return nil, err
	}
	streaming = true
	return &streamed{Body: func(hc huma.Context) {
		defer release()
		_, w := humago.Unwrap(hc)
		hc.SetHeader("Content-Type", harmless(about.ContentType))
		hc.SetHeader("Content-Length", strconv.Itoa(len(content)))
		// The file is a stranger's: a browser must not run it, nor show it as a page of this site.
		hc.SetHeader("Content-Disposition", download(about.Filename, in.N))
		hc.SetHeader("Content-Security-Policy", "sandbox")
		hc.SetStatus(http.StatusOK)
		if err := send(w, content); err != nil {
			if ctx.Err() == nil {
				s.log.Warn("sending an attachment broke off", zap.Stringer("message_id", in.ID), zap.Error(err))
			}
			panic(http.ErrAbortHandler) // the only way to tell the client
		}
	}}, nil
}

// send writes b in chunks, each within [chunkTimeout].
func send(w http.ResponseWriter, b []byte) error {
	control := http.NewResponseController(w)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	for len(b) > 0 {
		if err := control.SetWriteDeadline(time.Now().Add(chunkTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return fmt.Errorf("send an attachment: %w", err)
		}
		n := min(len(b), mailbox.ChunkSize)
		if _, err := w.Write(b[:n]); err != nil {
			return fmt.Errorf("send an attachment: %w", err)
		}
		b = b[n:]
	}
	return nil
}

const octets = "application/octet-stream"

// harmless returns the claimed media type if no browser takes it for a page or a
// program, else application/octet-stream.
func harmless(claimed string) string {
	t, _, err := mime.ParseMediaType(claimed)
	if err != nil {
		return octets
	}
	kind, of, ok := strings.Cut(t, "/")
	switch {
	case !ok || strings.ContainsFunc(of, func(r rune) bool { return r > unicode.MaxASCII }):
		return octets
	case kind == "audio" || kind == "video" || t == "text/plain" || t == "text/csv" || t == "text/calendar":
		return t
	case kind == "image" && !strings.Contains(of, "xml"):
		return t
	case kind == "application" && (of == "pdf" || of == "zip" || of == "json" || strings.HasPrefix(of, "vnd.") && !strings.Contains(of, "xml+") && !strings.HasSuffix(of, "+xml")):
		return t
	}
	return octets
}

// download is a Content-Disposition that names the file, without its path.
func download(name string, n int) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r == '\\':
			return '/'
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r): // Cf can reverse the text's direction, which hides the extension
			return -1
		}
		return r
	}, name)
	if name = path.Base(path.Clean("/" + name)); name == "/" || name == "." {
		name = "attachment-" + strconv.Itoa(n)
	}
	plain := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' || r == '%' {
			return '_'
		}
		return r
	}, name)
	d := `attachment; filename="` + plain + `"`
	if plain != name {
		// Browsers cut a name at an escaped quote, so they get it encoded (RFC 6266); others get one without.
		d += "; filename*=UTF-8''" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	}
	return d
}
