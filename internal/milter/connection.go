package milter

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/d--j/go-milter"
)

const (
	// maxPacket is the most bytes of one packet of a milter. The protocol's own limit for a chunk is 65,535.
	maxPacket = 128 << 10
	// maxAnswers is the most bytes that a milter may answer in a transaction, a new body left out.
	maxAnswers = 1 << 20
)

// The first byte of packets that the connection handles itself.
const (
	packetOptions  = 'O'
	packetBody     = 'b'
	packetProgress = 'p'
)

// connection is a connection to a milter below the library. The library trusts what a milter sends: it reads packets of
// any size, panics on an empty one, and keeps a new body in memory.
type connection struct {
	net.Conn // its deadline is set by limit alone

	r      *bufio.Reader
	packet bytes.Reader // what is left of the packet that is read
	budget int64        // bytes that may still be answered
	// body takes a new body. It is nil before the whole mail was sent.
	body io.Writer
}

func newConnection(c net.Conn) *connection {
	return &connection{Conn: c, r: bufio.NewReader(c), budget: maxAnswers}
}

// limit ends what is done on the connection at a time, or when ctx ends. The caller calls free.
func (c *connection) limit(ctx context.Context, end time.Time) (free func()) {
	_ = c.Conn.SetDeadline(end)
	stop := context.AfterFunc(ctx, func() { _ = c.Conn.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}

// SetDeadline does nothing: see limit.
func (c *connection) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing: see limit.
func (c *connection) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing: see limit.
func (c *connection) SetWriteDeadline(time.Time) error { return nil }

// Read returns the bytes of packets that are within bounds.
func (c *connection) Read(p []byte) (int, error) {
	for c.packet.Len() == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	return c.packet.Read(p)
}

// next reads a packet: its length in 4 bytes, and so many bytes.
func (c *connection) next() error {
	var head [4]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return whole(err)
	}
	size := binary.BigEndian.Uint32(head[:])
	switch {
	case size == 0:
		return errors.New("the milter sent an empty packet")
	case size > maxPacket:
		return fmt.Errorf("the milter sent a packet of %d bytes (limit %d)", size, maxPacket)
	}
	packet := make([]byte, len(head)+int(size))
	copy(packet, head[:])
	if _, err := io.ReadFull(c.r, packet[len(head):]); err != nil {
		return whole(err)
	}
	code, data := packet[len(head)], packet[len(head)+1:]
	if code == packetBody {
		if c.body == nil {
			return errors.New("the milter sent a new body before it had the mail")
		}
		_, err := c.body.Write(data)
		return err
	}
	if c.budget -= int64(len(packet)); c.budget < 0 {
		return fmt.Errorf("the milter answered over %d bytes", maxAnswers)
	}
	if code == packetProgress {
		return nil
	}
	if code == packetOptions && len(data) >= 12 {
		// rspamd asks for whatever it can do, offered or not. The library would refuse to talk to it.
		actions := binary.BigEndian.Uint32(data[4:])
		binary.BigEndian.PutUint32(data[4:], actions&uint32(obeyed))
	}
	c.packet.Reset(packet)
	return nil
}

// whole names the end of a connection that the milter closed within an answer.
func whole(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the milter closed the connection")
	}
	return err
}

// obeyed are the changes that milters are offered. New recipients and senders are not: an agent's address decides who
// gets a mail.
const obeyed = milter.OptAddHeader | milter.OptChangeHeader | milter.OptChangeBody | milter.OptQuarantine | milter.OptSetMacros
