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
	reading, cancel := withinReadTime(ctx)
	defer cancel()
	mail, release, err := s.borrow(reading, in.ID, 2)
	if err != nil {
		return nil, err
	}
	about, content, err := mailparse.ReadAttachment(reading, mail, in.N)
	if err != nil {
		release()
		if errors.Is(err, mailparse.ErrNoAttachment) {
			return nil, problem(http.StatusNotFound, "%v", err)
		}
		return nil, err
	}
	return s.sendFile(ctx, in.ID, content, harmless(about.ContentType), download(about.Filename, in.N), release), nil
}

// withinReadTime bounds reading and decoding a message.
func withinReadTime(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, readAttachmentTimeout, fmt.Errorf("reading the message took over %s", readAttachmentTimeout))
}

// borrow reads a whole message, and reserves so many times its size. The caller releases that.
func (s *server) borrow(ctx context.Context, id events.MessageID, times int64) (mail []byte, release func(), err error) {
	m, err := mailbox.GetMessage(ctx, s.pool, tenant(ctx), id)
	if err != nil {
		return nil, nil, err // no rows: 404
	}
	release, ok := s.memory.take(tenant(ctx), times*m.Raw.Size)
	if !ok {
		return nil, nil, problem(http.StatusTooManyRequests, "too many attachments and fields are being read: the limit is %d bytes of messages and their parts for each tenant, and %d for all tenants",
			tenantAttachmentBytes, attachmentBytes)
	}
	if mail, err = m.Raw.Whole(ctx, s.pool, s.blobs); err != nil {
		release()
		return nil, nil, s.unreadable(err)
	}
	return mail, release, nil
}

// sendFile answers with content of a message, and then releases its memory.
func (s *server) sendFile(ctx context.Context, id events.MessageID, content []byte, contentType, disposition string, release func()) *streamed {
	return &streamed{Body: func(hc huma.Context) {
		defer release()
		_, w := humago.Unwrap(hc)
		hc.SetHeader("Content-Type", contentType)
		hc.SetHeader("Content-Length", strconv.Itoa(len(content)))
		// The content is a stranger's: a browser must not run it, nor show it as a page of this site.
		hc.SetHeader("Content-Disposition", disposition)
		hc.SetHeader("Content-Security-Policy", "sandbox")
		hc.SetStatus(http.StatusOK)
		if _, err := w.Write(content); err != nil {
			if ctx.Err() == nil {
				s.log.Warn("sending a part of a message broke off", zap.Stringer("message_id", id), zap.Error(err))
			}
			panic(http.ErrAbortHandler) // the only way to tell the client
		}
	}}
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
