package receiver_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	receiver "github.com/fanmail-dev/fanmail/receivers/go"
)

func ExampleReceiver_Handler() {
	r, err := receiver.New(receiver.Config{Secrets: []string{secret}, Seen: receiver.NewMemory(0)})
	if err != nil {
		log.Fatal(err)
	}
	hooks := r.Handler(func(_ context.Context, event receiver.Event) error {
		data, err := event.Decode()
		if err != nil {
			return err
		}
		switch data := data.(type) {
		case *receiver.EmailReceived:
			fmt.Println("a mail:", data.Subject)
		case *receiver.EmailBounced:
			fmt.Println("not delivered:", data.Bounce.Recipient)
		default:
			fmt.Println("something else:", event.Type)
		}
		return nil
	})

	// Fanmail sends the same event twice.
	for range 2 {
		fmt.Println(send(hooks, `{"type":"email.received","id":"evt_1","created_at":"2027-01-15T08:00:00Z","schema_version":"1","data":{"subject":"Hello"}}`))
	}
	// Output:
	// a mail: Hello
	// 204
	// 204
}

func ExampleReceiver_Middleware() {
	r, err := receiver.New(receiver.Config{Secrets: []string{secret}})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/hooks", r.Middleware(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		event, _ := receiver.FromContext(req.Context())
		fmt.Println(event.Type)
		w.WriteHeader(http.StatusAccepted)
	})))
	fmt.Println(send(mux, `{"type":"order.paid","id":"evt_1","created_at":"2027-01-15T08:00:00Z","schema_version":"1","data":{}}`))
	// Output:
	// order.paid
	// 202
}

// send sends a body as Fanmail does, and returns the status of the answer.
func send(h http.Handler, body string) int {
	key, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		log.Fatal(err)
	}
	now := time.Now()
	sum, err := key.Sign("evt_1", now, []byte(body))
	if err != nil {
		log.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodPost, "/hooks", strings.NewReader(body))
	req.Header.Set("webhook-id", "evt_1")
	req.Header.Set("webhook-timestamp", fmt.Sprint(now.Unix()))
	req.Header.Set("webhook-signature", sum)
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, req)
	return answer.Code
}
