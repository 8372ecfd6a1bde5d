package datafilter

// Filter is a list of conditions, all of which an event has to meet. It is immutable.
type Filter struct {
	conditions []condition
	broken     bool
}

// Broken is a filter that no event passes: it stands for one that can't be read.
func Broken() *Filter { return &Filter{broken: true} }

// condition is met if one value at the path passes all tests.
type condition struct {
	path  string
	keys  []string
	tests []test
	none  bool // {"exists": false}: it is met if there is no value
}

// met reports whether one of the values meets the condition.
func (c *condition) met(values []value) bool {
	if c.none {
		return len(values) == 0
	}
	for i := range values {
		if c.passes(&values[i]) {
			return true
		}
	}
	return false
}

func (c *condition) passes(v *value) bool {
	for i := range c.tests {
		if !c.tests[i].passes(v) {
			return false
		}
	}
	return true
}

// Match reports whether an event passes the filter. The values are those of a plan that was made for it.
func (f *Filter) Match(v *Values) bool {
	return !f.broken && f.unmet(v) == nil
}

// Unmet returns the first condition that an event does not meet, as JSON; "" if it passes the filter.
func (f *Filter) Unmet(v *Values) string {
	if f.broken {
		return "{}"
	}
	c := f.unmet(v)
	if c == nil {
		return ""
	}
	return string((&Filter{conditions: []condition{*c}}).JSON())
}

func (f *Filter) unmet(v *Values) *condition {
	for i := range f.conditions {
		c := &f.conditions[i]
		if !c.met(v.at(c.path)) {
			return c
		}
	}
	return nil
}
