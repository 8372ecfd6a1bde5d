// Package client calls Fanmail's API. [New] makes a client; api.go is generated from the
// API's OpenAPI document and has a method for each operation.
//
//	c, err := client.New("https://fanmail.example.com", key)
//	if err != nil {
//		return err
//	}
//	made, err := c.CreateWebhookWithResponse(ctx, nil, client.WebhookSettings{
//		URL: client.Ptr("https://example.com/hooks"), Events: []string{"email.received"},
//	})
//	if err := client.Check(made, err); err != nil {
//		return err
//	}
//	secret := made.JSON201.SigningSecret
//
// A method with the suffix WithResponse reads the answer. It returns an error only if
// there is no answer; [Check] makes an error of an answer that is none of 2xx. The method
// without the suffix leaves the body to the caller: take it for streams.
//
// In requests, a nil pointer leaves a field out. Fields that PATCH can clear are
// [nullable.Nullable]: leave them out with nil, clear them with nullable.NewNullNullable.
package client
