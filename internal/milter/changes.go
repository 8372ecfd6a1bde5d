package milter

import (
	"errors"
	"fmt"
	"math"

	"github.com/d--j/go-milter"

	"github.com/fanmail-dev/fanmail/events/email"
)

// maxChanges is the most changes that one milter may make to a mail.
const maxChanges = 500

// changes are what a milter wants changed in a mail. Its Write takes a new body.
type changes struct {
	store func() Store
	list  []milter.ModifyAction

	fields []*field // of list; nil for what is no field
	body   Store    // nil: the mail keeps its own
	size   int64
}

// Write takes a part of a new body.
func (c *changes) Write(p []byte) (int, error) {
	if c.body == nil {
		c.body = c.store()
	}
	n, err := c.body.Write(p)
	c.size += int64(n)
	return n, err
}

// check returns an error if a change can't be made. asIs says that values have their own space after the colon.
func (c *changes) check(asIs bool) error {
	if len(c.list) > maxChanges {
		return fmt.Errorf("the milter wants %d changes (limit %d)", len(c.list), maxChanges)
	}
	c.fields = make([]*field, len(c.list))
	for i, change := range c.list {
		switch change.Type {
		case milter.ActionAddHeader, milter.ActionChangeHeader, milter.ActionInsertHeader:
			f, err := newField(change.HeaderName, change.HeaderValue, asIs)
			if err != nil {
				return err
			}
			c.fields[i] = f
		case milter.ActionQuarantine:
		case milter.ActionAddRcpt, milter.ActionDelRcpt:
			return errors.New("the milter wants other recipients, which Fanmail does not offer: turn that off in the milter")
		case milter.ActionChangeFrom:
			return errors.New("the milter wants another sender, which Fanmail does not offer: turn that off in the milter")
		default:
			return fmt.Errorf("the milter wants a change of type %d, which Fanmail does not know", change.Type)
		}
	}
	return nil
}

// apply makes the changes, and tells of them.
func (c *changes) apply(m *Mail, told *email.Milter) {
	for i, change := range c.list {
		f, n := c.fields[i], int(min(change.HeaderIndex, math.MaxInt32))
		switch change.Type {
		case milter.ActionAddHeader:
			m.insert(len(m.fields), f)
		case milter.ActionInsertHeader:
			m.insert(n, f)
		case milter.ActionChangeHeader:
			m.change(n, f, change.HeaderValue == "")
		case milter.ActionQuarantine:
			told.Action, told.Reason = email.MilterQuarantine, clean(change.Reason, toldReason)
		}
		if f != nil {
			tell(told, change.HeaderName, change.HeaderValue)
		}
	}
	if c.body != nil {
		m.replace(c.body, c.size)
		c.body = nil // it is the mail's
		told.BodyReplaced = true
	}
	judge(told)
}

// made reports whether the mail was changed.
func (c *changes) made(told *email.Milter) bool {
	return len(told.Headers) > 0 || told.Truncated || told.BodyReplaced
}

// drop frees a new body that is not used.
func (c *changes) drop() {
	if c.body != nil {
		c.body.Close()
	}
}
