// Command kms is local-kms on the loopback interface: a server of AWS KMS for tests.
//
// local-kms itself listens on all interfaces. Arguments: the address, and the folder of
// the keys, which stay when it is started again.
package main

import (
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/nsmithuk/local-kms/src"
	"github.com/nsmithuk/local-kms/src/config"
	"github.com/nsmithuk/local-kms/src/data"
)

func main() {
	addr, dir := os.Args[1], os.Args[2]
	config.AWSAccountId, config.AWSRegion = "111122223333", "eu-central-1"
	keys := data.NewDatabase(dir)
	defer keys.Close()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		log.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet { // its readiness; KMS takes POST alone
			return
		}
		src.HandleRequest(w, r, keys)
	})}
	log.Fatal(s.Serve(l))
}
