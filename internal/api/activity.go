package api

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// activityWindows are the values of the parameter window, each with the length of its
// buckets.
var activityWindows = map[string]struct {
	length  time.Duration
	buckets int
}{
	"1h": {2 * time.Minute, 30}, "24h": {time.Hour, 24}, "7d": {6 * time.Hour, 28}, "30d": {24 * time.Hour, 30},
}

// laneWait bounds the wait for the lanes of one response.
const laneWait = 400 * time.Millisecond

// ActivityBucket counts the deliveries that were created in a stretch of time.
type ActivityBucket struct {
	Start     time.Time `json:"start"`
	Delivered int       `json:"delivered"`
	Failed    int       `json:"failed"`
	Pending   int       `json:"pending"`
	Estimated bool      `json:"estimated" doc:"The bucket had more deliveries than one request reads: the counts are those of its newest ones, scaled to the bucket's length."`
}

// WebhookActivity is the activity of one webhook.
type WebhookActivity struct {
	WebhookID   events.WebhookID       `json:"webhook_id"`
	SuccessRate *float64               `json:"success_rate" doc:"delivered divided by delivered plus failed, 0 to 1, of the deliveries that were read; null if none has ended."`
	Waiting     int                    `json:"waiting" doc:"Unfinished deliveries of any age, at most 1000."`
	WaitingMore bool                   `json:"waiting_more" doc:"There are more than that."`
	NextDue     *time.Time             `json:"next_due" doc:"The earliest due time of a waiting delivery. A past time means that the delivery waits for its turn; null: none waits."`
	Lane        *subscribers.LaneState `json:"lane,omitempty" doc:"The webhook's lane; absent unless lanes is set, and if no dispatcher that owns it answered in time."`
	Buckets     []ActivityBucket       `json:"buckets" doc:"Oldest first."`
}

// Activity is the response of GET /v1/activity.
type Activity struct {
	Window        string            `json:"window"`
	BucketSeconds int               `json:"bucket_seconds" doc:"The length of a bucket. The last bucket holds the present and is not full."`
	Complete      bool              `json:"complete" doc:"False if the tenant has more than 100 webhooks and none was named: only the newest 100 are read."`
	Total         []ActivityBucket  `json:"total" doc:"The sums of the webhooks below."`
	Webhooks      []WebhookActivity `json:"webhooks" doc:"Newest webhook first."`
}

type activityQuery struct {
	Window    string   `query:"window" enum:"1h,24h,7d,30d" default:"24h"`
	WebhookID []string `query:"webhook_id,explode" maxItems:"100" doc:"Only this webhook; may be repeated."`
	Waiting   bool     `query:"waiting" default:"true" doc:"false: leave out what waits, which GET /v1/stats counts too. waiting is then 0 and next_due null."`
	Lanes     bool     `query:"lanes" doc:"Also ask the dispatchers for the lanes."`
}

func (s *server) activityRoutes() {
	register(s, tenants, huma.Operation{
		OperationID: "get-activity", Method: http.MethodGet, Path: "/v1/activity", Summary: "Read the deliveries over time, and what waits",
		Description: fmt.Sprintf("For the tenant and for each webhook: the deliveries of the last `window` by their present status, in buckets. Tests do not count. "+
			"At most %d deliveries of a webhook are read, spread over its buckets; a bucket that has more is estimated and says so.", subscribers.ActivitySample),
	}, s.getActivity)
}

func (s *server) getActivity(ctx context.Context, in *activityQuery) (*body[Activity], error) {
	w := activityWindows[in.Window]
	var ids []events.WebhookID
	named := map[events.WebhookID]bool{}
	for _, text := range in.WebhookID {
		id, err := events.Parse[events.WebhookKind](text)
		if err != nil {
			return nil, fault("query.webhook_id", "%v", err)
		}
		ids, named[id] = append(ids, id), true
	}
	found, more, err := s.store.Activity(ctx, tenant(ctx), ids, in.Waiting, w.length, w.buckets)
	if err != nil {
		return nil, err
	}
	if len(found) < len(named) {
		return nil, subscribers.ErrNotFound
	}
	out := Activity{Window: in.Window, BucketSeconds: int(w.length.Seconds()), Complete: !more, Total: []ActivityBucket{}, Webhooks: make([]WebhookActivity, len(found))}
	for i, a := range found {
		out.Webhooks[i] = showActivity(a)
		out.Total = addBuckets(out.Total, out.Webhooks[i].Buckets)
	}
	if in.Lanes {
		s.askLanes(ctx, out.Webhooks)
	}
	return reply(out), nil
}

func showActivity(a subscribers.Activity) WebhookActivity {
	out := WebhookActivity{
		WebhookID: a.WebhookID, SuccessRate: a.SuccessRate, Waiting: a.Waiting, WaitingMore: a.WaitingMore, NextDue: a.NextDue,
		Buckets: make([]ActivityBucket, len(a.Buckets)),
	}
	for i, b := range a.Buckets {
		out.Buckets[i] = ActivityBucket(b)
	}
	return out
}

// addBuckets adds the counts of one webhook to a sum.
func addBuckets(sum, add []ActivityBucket) []ActivityBucket {
	if len(sum) == 0 {
		return append(sum, add...)
	}
	for i := range min(len(sum), len(add)) {
		sum[i].Delivered += add[i].Delivered
		sum[i].Failed += add[i].Failed
		sum[i].Pending += add[i].Pending
		sum[i].Estimated = sum[i].Estimated || add[i].Estimated
	}
	return sum
}

// askLanes asks for the lanes of all webhooks at once.
func (s *server) askLanes(ctx context.Context, list []WebhookActivity) {
	ctx, cancel := context.WithTimeout(ctx, laneWait)
	defer cancel()
	var all sync.WaitGroup
	for i := range list {
		all.Go(func() {
			if lane, err := subscribers.AskLane(ctx, s.nc, list[i].WebhookID); err == nil {
				list[i].Lane = &lane
			}
		})
	}
	all.Wait()
}
