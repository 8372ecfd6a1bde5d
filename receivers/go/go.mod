module github.com/fanmail-dev/fanmail/receivers/go

go 1.23.0

require github.com/standard-webhooks/standard-webhooks/libraries v0.0.1
