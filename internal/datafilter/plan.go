package datafilter

import (
	"bytes"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/jsonscan"
)

// MaxValues is how many values at a path are compared: the first of an event.
const MaxValues = 1000

// Plan reads the values for several filters in one pass. It is immutable.
type Plan struct {
	envelope *node          // its one child is the data
	places   map[string]int // of a path's values in [Values]
}

// node is a key that paths share.
type node struct {
	children map[string]*node
	place    int // of the values of the path that ends here; -1: none does
}

func newNode() *node { return &node{place: -1} }

func (n *node) child(key string) *node {
	if n.children == nil {
		n.children = map[string]*node{}
	}
	if n.children[key] == nil {
		n.children[key] = newNode()
	}
	return n.children[key]
}

// NewPlan returns the plan for filters; those that are nil ask for nothing.
func NewPlan(filters ...*Filter) *Plan {
	p := &Plan{envelope: newNode(), places: map[string]int{}}
	data := p.envelope.child("data")
	for _, f := range filters {
		if f == nil {
			continue
		}
		for i := range f.conditions {
			c := &f.conditions[i]
			if _, ok := p.places[c.path]; ok {
				continue
			}
			end := data
			for _, key := range c.keys {
				end = end.child(key)
			}
			end.place = len(p.places)
			p.places[c.path] = end.place
		}
	}
	return p
}

// Values are the values of one event that a plan asks for.
type Values struct {
	plan *Plan
	of   [][]value // by place
}

func (v *Values) at(path string) []value {
	if place, ok := v.plan.places[path]; ok {
		return v.of[place]
	}
	return nil
}

// Read reads the values from an event's envelope, which must not change as long as they are used.
func (p *Plan) Read(envelope []byte) *Values {
	v := &Values{plan: p, of: make([][]value, len(p.places))}
	r := reader{json: envelope, values: v}
	r.value(p.envelope, jsonscan.SkipSpace(envelope, 0), 0)
	return v
}

// reader reads an envelope. Its methods return the place after what they have read; -1 if the bytes are not JSON.
type reader struct {
	json   []byte
	values *Values
}

// value reads the value that begins at i for a node. It may leave white space.
func (r *reader) value(n *node, i, depth int) int {
	if i >= len(r.json) || depth > events.MaxDepth+1 {
		return -1
	}
	switch r.json[i] {
	case '[':
		return r.list(n, i, depth)
	case '{':
		if r.add(n, value{kind: kindObject}); len(n.children) > 0 {
			return r.object(n, i, depth)
		}
		return jsonscan.ValueEnd(r.json, i)
	}
	end := jsonscan.ValueEnd(r.json, i)
	if end < 0 || n.place < 0 {
		return end
	}
	if v, ok := parseValue(bytes.TrimRight(r.json[i:end], " \t\r\n")); ok {
		r.add(n, v)
	}
	return end
}

func (r *reader) add(n *node, v value) {
	if n.place < 0 {
		return
	}
	if of := &r.values.of[n.place]; len(*of) < MaxValues {
		*of = append(*of, v)
	}
}

// list reads the elements of the list that begins at i.
func (r *reader) list(n *node, i, depth int) int {
	i = jsonscan.SkipSpace(r.json, i+1)
	if i < len(r.json) && r.json[i] == ']' {
		return i + 1
	}
	for {
		if i = r.value(n, i, depth+1); i < 0 {
			return -1
		}
		var more bool
		if i, more = r.next(i, ']'); !more {
			return i
		}
	}
}

// object reads the members of the object that begins at i.
func (r *reader) object(n *node, i, depth int) int {
	i = jsonscan.SkipSpace(r.json, i+1)
	if i < len(r.json) && r.json[i] == '}' {
		return i + 1
	}
	for {
		end := jsonscan.StringEnd(r.json, i)
		if end < 0 {
			return -1
		}
		child := n.member(r.json[i:end])
		if i = jsonscan.SkipSpace(r.json, end); i == len(r.json) || r.json[i] != ':' {
			return -1
		}
		i = jsonscan.SkipSpace(r.json, i+1)
		if child != nil {
			i = r.value(child, i, depth+1)
		} else {
			i = jsonscan.ValueEnd(r.json, i)
		}
		if i < 0 {
			return -1
		}
		var more bool
		if i, more = r.next(i, '}'); !more {
			return i
		}
	}
}

// member returns the child of a key, which is a string of JSON; nil if there is none.
func (n *node) member(key []byte) *node {
	if bytes.IndexByte(key, '\\') < 0 {
		return n.children[string(key[1:len(key)-1])]
	}
	return n.children[jsonscan.Text(key)]
}

// next goes past the comma at i, or past the bracket that ends the list or the object. more says which.
func (r *reader) next(i int, bracket byte) (_ int, more bool) {
	i = jsonscan.SkipSpace(r.json, i)
	switch {
	case i == len(r.json):
		return -1, false
	case r.json[i] == ',':
		return jsonscan.SkipSpace(r.json, i+1), true
	case r.json[i] == bracket:
		return i + 1, false
	}
	return -1, false
}
