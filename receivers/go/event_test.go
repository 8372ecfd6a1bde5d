package receiver_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	receiver "github.com/fanmail-dev/fanmail/receivers/go"
)

// zeros are the ends of times that Go writes without them.
var zeros = regexp.MustCompile(`0+Z"`)

// The golden envelopes are what Fanmail has sent. Nothing of their data is lost in the types.
func TestTheGoldenEnvelopesAreDecoded(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../events/testdata/envelopes/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d envelopes, %v", len(files), err)
	}
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var e receiver.Event
		if err := json.Unmarshal(body, &e); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		data, err := e.Decode()
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if _, untyped := data.(map[string]any); untyped {
			t.Errorf("%s: %s has no type", f, e.Type)
		}
		again, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		var was, is any
		if err := json.Unmarshal(zeros.ReplaceAll(e.Data, []byte(`Z"`)), &was); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(again, &is); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(was, is) {
			t.Errorf("%s: the data\n%s\nbecame\n%s", f, e.Data, again)
		}
	}
}

func TestDataWithoutATypeIsAMap(t *testing.T) {
	t.Parallel()
	for _, eventType := range []string{receiver.TypeEmailSent, "order.paid"} {
		data, err := receiver.Event{Type: eventType, Data: []byte(`{"a":1}`)}.Decode()
		if err != nil || !reflect.DeepEqual(data, map[string]any{"a": 1.0}) {
			t.Errorf("%s: %v, %v", eventType, data, err)
		}
	}
	if _, err := (receiver.Event{Type: receiver.TypeEmailReceived, Data: []byte(`{"subject":1}`)}).Decode(); err == nil {
		t.Error("data that does not fit its type was decoded")
	}
	if _, err := (receiver.Event{Type: "order.paid", Data: []byte(`[]`)}).Decode(); err == nil {
		t.Error("data that is no object was decoded")
	}
}
