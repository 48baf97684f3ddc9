// Command bare is the least a fan-out can be: it writes every POST's body to
// each WebSocket that is open, and knows nothing else. The first message says
// that a socket is one of them.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

func main() {
	var mu sync.Mutex
	sockets := map[*websocket.Conn]chan []byte{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		messages := make(chan []byte, 64)
		messages <- []byte("subscribed")
		mu.Lock()
		sockets[conn] = messages
		mu.Unlock()
		ctx := conn.CloseRead(context.Background())
		defer func() {
			mu.Lock()
			delete(sockets, conn)
			mu.Unlock()
			conn.CloseNow()
		}()
		for {
			select {
			case message := <-messages:
				if conn.Write(ctx, websocket.MessageText, message) != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	})
	mux.HandleFunc("POST /", func(_ http.ResponseWriter, r *http.Request) {
		message, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, messages := range sockets {
			messages <- message
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s/\n", l.Addr())
	log.Fatal((&http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}).Serve(l))
}
