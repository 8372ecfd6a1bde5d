package capacity

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Database is a database that takes tenants.
type Database struct {
	Name string `json:"name"`
	// Weight is its share relative to the other databases; above zero.
	Weight float64 `json:"weight"`
}

// Tenant is a tenant to place.
type Tenant struct {
	ID string `json:"id"`
	// Load is the tenant's load in any unit, such as events a day. It does not
	// change the place, only the [Share] of the databases.
	Load float64 `json:"load"`
	// Pin is the database that the tenant must have; "" for any.
	Pin string `json:"pin,omitempty"`
}

// Placement is the database of a tenant.
type Placement struct {
	Tenant   string  `json:"tenant"`
	Database string  `json:"database"`
	Load     float64 `json:"load"`
}

// ErrPlaces says that the list of databases is not valid.
var ErrPlaces = errors.New("the databases must have distinct names, and weights above zero")

// Place assigns a database to each tenant by weighted rendezvous hashing. Shares
// follow the weights, and a change of the databases moves as few tenants as
// possible. The order of the databases and tenants does not matter; the result
// has the order of the tenants. Place returns [ErrPlaces], or an error that names
// a tenant without an id, a duplicate tenant, or an unknown database of a pin.
func Place(tenants []Tenant, databases []Database) ([]Placement, error) {
	known := map[string]bool{}
	for _, d := range databases {
		if d.Name == "" || known[d.Name] || !(d.Weight > 0) || math.IsInf(d.Weight, 0) {
			return nil, fmt.Errorf("%w: %q with weight %g", ErrPlaces, d.Name, d.Weight)
		}
		known[d.Name] = true
	}
	if len(databases) == 0 {
		return nil, fmt.Errorf("%w: there are none", ErrPlaces)
	}
	out := make([]Placement, len(tenants))
	seen := make(map[string]bool, len(tenants))
	for i, t := range tenants {
		switch {
		case t.ID == "":
			return nil, fmt.Errorf("tenant %d has no id", i+1)
		case seen[t.ID]:
			return nil, fmt.Errorf("tenant %s is given twice", t.ID)
		case t.Pin != "" && !known[t.Pin]:
			return nil, fmt.Errorf("tenant %s is pinned to %q, which is not one of the databases", t.ID, t.Pin)
		}
		seen[t.ID] = true
		out[i] = Placement{Tenant: t.ID, Database: t.Pin, Load: t.Load}
		if t.Pin == "" {
			out[i].Database = choose(t.ID, databases)
		}
	}
	return out, nil
}

func choose(tenant string, databases []Database) string {
	best, highest := "", math.Inf(-1)
	for _, d := range databases {
		// With independent draws, a database wins with the probability of its
		// weight divided by the sum of all weights.
		drawn := -d.Weight / math.Log(draw(tenant, d.Name))
		if drawn > highest || drawn == highest && d.Name < best {
			best, highest = d.Name, drawn
		}
	}
	return best
}

// draw maps a pair to a number above 0 and below 1, always the same.
func draw(tenant, database string) float64 {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(tenant)))
	sum := sha256.Sum256(slices.Concat(n[:], []byte(tenant), []byte(database)))
	return (float64(binary.BigEndian.Uint64(sum[:8])>>11) + .5) / (1 << 53)
}

// Share is the part of the tenants and of the load on a database.
type Share struct {
	Database string  `json:"database"`
	Tenants  int     `json:"tenants"`
	Load     float64 `json:"load"`
	// OfFair is its load divided by its fair share by weight; 1 is even.
	OfFair float64 `json:"of_fair"`
}

// Shares sums up the placements, in the order of the databases.
func Shares(placed []Placement, databases []Database) []Share {
	out := make([]Share, len(databases))
	at := map[string]*Share{}
	weights, loads := 0.0, 0.0
	for i, d := range databases {
		out[i].Database = d.Name
		at[d.Name] = &out[i]
		weights += d.Weight
	}
	for _, p := range placed {
		if s := at[p.Database]; s != nil {
			s.Tenants++
			s.Load += p.Load
			loads += p.Load
		}
	}
	for i, d := range databases {
		if fair := loads * d.Weight / weights; fair > 0 {
			out[i].OfFair = out[i].Load / fair
		}
	}
	return out
}
