package resolvers_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"presence"
	"presence/internal/config"
	"presence/internal/redisstore"
	"presence/internal/testenv"
	"presence/resolvers"
)

// FuzzHandle calls any field as any caller with any arguments, or, where there
// is no field, with any payload at all. The handler answers with JSON, or
// refuses in a sentence: with Redis well, nothing a caller sends is Internal
// (a panic) or Unavailable (a script that failed). And whatever it was, who
// is not the caller is left alone.
func FuzzHandle(f *testing.F) {
	files, err := filepath.Glob("../testdata/events/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no events: %v", err)
	}
	for _, file := range files {
		event, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add("", "", event)
	}
	const bystander = "bystander"
	for field, arguments := range map[string]string{
		"connect":      `{"url":"https://me:secret@example.com/a?b=c#d","title":"<b>","sessionId":"{0}:p:alice"}`,
		"heartbeat":    `{"url":"HTTP://[::1]:80/%2e%2e/","title":"","sessionId":null}`,
		"disconnect":   `{"sessionId":"tab","graceMs":75000}`,
		"status":       `{"userId":"bystander"}`,
		"statuses":     `{"userIds":["{}","%s","bystander","bystander"]}`,
		"connected":    `{"userId":"bystander"}`,
		"disconnected": `{"userId":"bystander"}`,
		"onStatus":     `{"userId":"bystander"}`,
		"onPresence":   `{"watch":{"userIds":["bystander",""]}}`,
	} {
		f.Add(field, "alice", []byte(arguments))
		f.Add(field, bystander, []byte(arguments))
		f.Add(field, "", []byte(arguments)) // IAM
	}
	redisURL, _ := testenv.Embedded(f)
	store, err := redisstore.New(redisstore.Options{Timing: timing, Redis: config.Redis{RedisURL: redisURL}, Shards: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { store.Close() })
	come := func(tb testing.TB) presence.State {
		page := presence.Page{URL: "https://example.com/", Title: "Home"}
		state, err := store.Touch(tb.Context(), presence.Beat{UserID: bystander, SessionID: "tab", Page: page, Reason: presence.ReasonConnect})
		if err != nil {
			tb.Fatal(err)
		}
		return state
	}
	want := come(f)
	handler := resolvers.New(resolvers.Options{
		Timing: timing, Store: store, Publisher: &bus{}, Logger: slog.New(slog.DiscardHandler),
		Sleep: func(context.Context, time.Duration) error { return nil },
	})

	f.Fuzz(func(t *testing.T, field, caller string, text []byte) {
		if field != "" && json.Valid(text) && utf8.ValidString(caller) {
			text = payload(caller, field, string(text))
		}
		reply, err := handler.Invoke(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		var a answer
		if err := json.Unmarshal(reply, &a); err != nil {
			t.Fatalf("%v: %s", err, reply)
		}
		if a.Data != nil { // the schedule is answered null
			checkPages(t, a.Data)
		} else if a.Error != nil {
			code := presence.Code(a.Error.Type)
			if code != presence.InvalidArgument && code != presence.Unauthorized || a.Error.Message == "" {
				t.Fatalf("%v", a.Error)
			}
		}

		var event struct {
			Caller struct {
				ID string `json:"id"`
			} `json:"caller"`
		}
		// What the handler would read of it.
		if jsonv2.Unmarshal(text, &event, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)) == nil && event.Caller.ID == bystander {
			want = come(t) // whatever was done, the bystander did it
		}
		states, err := store.Status(t.Context(), []string{bystander})
		if err != nil {
			t.Fatal(err)
		}
		// asOf of a reading may be later.
		got := states[0].Presence
		got.AsOf = want.AsOf
		if diff := cmp.Diff(want.Presence, got); diff != "" {
			t.Fatalf("somebody else's presence: -before +after:\n%s", diff)
		}
	})
}

// checkPages holds every page in an answer against what may be shown.
func checkPages(t *testing.T, reply []byte) {
	t.Helper()
	var all []*presence.Presence
	if err := json.Unmarshal(reply, &all); err != nil {
		all = make([]*presence.Presence, 1)
		if err := json.Unmarshal(reply, &all[0]); err != nil {
			t.Fatalf("%v: %s", err, reply)
		}
	}
	for _, p := range all {
		if p == nil || p.URL == nil {
			continue
		}
		u, err := url.Parse(*p.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
			t.Fatalf("a page at %q", *p.URL)
		}
	}
}
