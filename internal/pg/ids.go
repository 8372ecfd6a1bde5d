package pg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// registerIDs makes each new connection of a pool read and write ids with [idCodec]. Other pools use the Scan and Value
// methods of events.Key, which cost several allocations for each id.
func registerIDs(cfg *pgxpool.Config) {
	before := cfg.AfterConnect
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		registerIDCodec(c.TypeMap())
		if before != nil {
			return before(ctx, c)
		}
		return nil
	}
}

func registerIDCodec(m *pgtype.Map) {
	uuid := &pgtype.Type{Name: "uuid", OID: pgtype.UUIDOID, Codec: idCodec{}}
	m.RegisterType(uuid)
	m.RegisterType(&pgtype.Type{Name: "_uuid", OID: pgtype.UUIDArrayOID, Codec: &pgtype.ArrayCodec{ElementType: uuid}})
}

// id and idTarget are any events.Key and any pointer to one.
type (
	id       interface{ UUID() [16]byte }
	idTarget interface{ SetUUID(b [16]byte) }
)

// idCodec is pgx's codec for uuid with a direct way for ids in the binary format. A wrapper plan would not do for
// reading: pgx prefers Scan to wrapper plans.
type idCodec struct{ pgtype.UUIDCodec }

// PlanEncode returns a plan for an id in the binary format, else pgx's own.
func (c idCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.(id); ok && format == pgtype.BinaryFormatCode {
		return encodeID{}
	}
	return c.UUIDCodec.PlanEncode(m, oid, format, value)
}

// PlanScan returns a plan for a pointer to an id in the binary format, else pgx's own.
func (c idCodec) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	if _, ok := target.(idTarget); ok && format == pgtype.BinaryFormatCode {
		return scanID{}
	}
	return c.UUIDCodec.PlanScan(m, oid, format, target)
}

type encodeID struct{}

// Encode appends the 16 bytes of an id. It returns nil for the zero id, which means NULL.
func (encodeID) Encode(value any, buf []byte) ([]byte, error) {
	b := value.(id).UUID()
	if b == [16]byte{} {
		return nil, nil
	}
	return append(buf, b[:]...), nil
}

type scanID struct{}

// Scan sets an id to the 16 bytes of src, or to the zero id if src is NULL.
func (scanID) Scan(src []byte, target any) error {
	var b [16]byte
	if src != nil && len(src) != len(b) {
		return fmt.Errorf("read an id: a uuid of %d bytes; it must have %d", len(src), len(b))
	}
	copy(b[:], src)
	target.(idTarget).SetUUID(b)
	return nil
}
