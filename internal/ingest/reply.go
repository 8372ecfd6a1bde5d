package ingest

import (
	"fmt"
	"time"

	"github.com/emersion/go-smtp"
)

// The replies of the server itself. Others come from the SMTP library.
var (
	errUnknown    = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such address here"}
	errSuspended  = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 2, 1}, Message: "This address is disabled and takes no mail"}
	errChanged    = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 1, 1}, Message: "A recipient was removed meanwhile, try again"}
	errDatabase   = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Temporarily out of order, try again later"}
	errBlobs      = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Temporarily out of order, try again later"}
	errMilter     = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "The mail cannot be checked for now, try again later"}
	errFull       = &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "Too much unfinished mail at once, try again later"}
	errBrokerFull = &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "No room in the queue of mails, try again later"}
	errSpool      = &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "No room to store the mail, try again later"}
	errStopping   = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "Going down, try again later"}
	errBroken     = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 4, 2}, Message: "The transfer broke off"}
	errSlow       = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 4, 2}, Message: "The mail came too slowly (limit: 1 minute and a second for each KiB)"}
	errIdle       = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Idle or slow while others need the connection, try again later"}
	errSlowest    = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Mail came too slowly while others needed the space, try again later"}
)

func tooManyErrors() *smtp.SMTPError {
	return closing(smtp.EnhancedCode{4, 7, 0}, fmt.Sprintf("Too many errors (limit %d), closing the connection", maxErrors))
}

func tooManyCommands(limit int) *smtp.SMTPError {
	return closing(smtp.EnhancedCode{4, 7, 0}, fmt.Sprintf("Too many commands without a mail (limit %d), closing the connection", limit))
}

func tooManyConnections(limit int) *smtp.SMTPError {
	return closing(smtp.EnhancedCode{4, 3, 2}, fmt.Sprintf("Too many connections (limit %d), try again later", limit))
}

func tooManyOfClient(limit int) *smtp.SMTPError {
	return closing(smtp.EnhancedCode{4, 7, 0}, fmt.Sprintf("Too many connections from your network (limit %d), try again later", limit))
}

func tooMuchMail(limit int64) *smtp.SMTPError {
	return &smtp.SMTPError{
		Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1},
		Message: fmt.Sprintf("Too much unfinished mail from your network (limit %d bytes), try again later", limit),
	}
}

func tooLong(limit time.Duration) *smtp.SMTPError {
	return closing(smtp.EnhancedCode{4, 4, 2}, fmt.Sprintf("The mail took too long (limit %s)", limit))
}

// unstorable refuses a mail that can never be committed. A client of SMTP gets [errDatabase] instead: it still has the
// mail when the fault is mended.
func unstorable(err error) *smtp.SMTPError {
	return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "The mail cannot be stored: " + err.Error()}
}

// closing is a reply after which the connection is closed.
func closing(code smtp.EnhancedCode, message string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: 421, EnhancedCode: code, Message: message}
}

// line returns a reply as it is sent.
func line(e *smtp.SMTPError) string {
	return fmt.Sprintf("%d %d.%d.%d %s\r\n", e.Code, e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2], e.Message)
}
