package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"presence"
	"presence/internal/config"
	"presence/internal/metrics"
	"presence/internal/redisstore"
	"presence/internal/testenv"
	"presence/resolvers"
)

const (
	shards  = 16
	callers = 64 // the most at once, and the size of every connection pool
)

// world is a handler on a redis-server or a cluster, and a plain client beside
// it.
type world struct {
	store   *redisstore.Store
	handler *resolvers.Handler
	raw     redis.UniversalClient
	nodes   []*testenv.Server
	hashes  []byte // hashLength of each user filled
	turns   []atomic.Uint32
}

// newWorld starts redis-servers, one or a cluster.
func newWorld(b *bench, cluster bool, publisher presence.Publisher) (*world, error) {
	w := &world{}
	var err error
	if cluster {
		w.nodes, err = testenv.StartRedisCluster(b.dir)
	} else {
		var node *testenv.Server
		node, err = testenv.StartRedis(b.dir)
		w.nodes = []*testenv.Server{node}
	}
	if err != nil {
		return nil, err
	}
	w.raw = redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: []string{w.nodes[0].Addr}, IsClusterMode: cluster, PoolSize: callers, DisableIdentity: true,
	})
	w.store, err = redisstore.New(redisstore.Options{
		Timing: timing, Shards: shards, PoolSize: callers,
		Redis: config.Redis{RedisURL: w.nodes[0].URL, RedisCluster: cluster},
	})
	if err != nil {
		w.close()
		return nil, err
	}
	w.handler = resolvers.New(resolvers.Options{
		Timing: timing, Store: w.store, Publisher: publisher,
		Metrics: metrics.NewEMF(io.Discard, nil),
		Logger:  slog.New(slog.DiscardHandler),
	})
	return w, nil
}

func (w *world) close() {
	if w.store != nil {
		_ = w.store.Close()
	}
	_ = w.raw.Close()
	for _, node := range w.nodes {
		node.Kill()
	}
}

// cpuTime returns the CPU time this process and Redis have used.
func (w *world) cpuTime() (time.Duration, error) {
	total, err := cpuTime(os.Getpid())
	for _, node := range w.nodes {
		used, nodeErr := cpuTime(node.Process().Pid)
		total, err = total+used, errors.Join(err, nodeErr)
	}
	return total, err
}

// fill brings the users numbered from to to-1 online, and their page up, with
// nothing left to announce.
func (w *world) fill(ctx context.Context, from, to int, page presence.Page, session func(int) string) error {
	for n := from; n < to; n++ {
		sum := sha256.Sum256([]byte(userID(n)))
		w.hashes = append(w.hashes, base64.RawURLEncoding.EncodeToString(sum[:])[:hashLength]...)
	}
	w.turns = make([]atomic.Uint32, to)
	err := each(ctx, from, to, func(ctx context.Context, n int) error {
		_, err := w.store.Touch(ctx, userID(n), session(n), page, presence.ReasonConnect)
		return err
	})
	if err != nil {
		return err
	}
	return w.forget(ctx)
}

// forget drops the notes of what is yet to be announced.
func (w *world) forget(ctx context.Context) error {
	for _, tag := range tags {
		if err := w.raw.Del(ctx, tag+":outbox", tag+":notes").Err(); err != nil {
			return err
		}
	}
	return nil
}

// infoField returns a number of INFO.
func infoField(ctx context.Context, client redis.UniversalClient, section, field string) (value float64, err error) {
	text, err := client.Info(ctx, section).Result()
	if err != nil {
		return 0, err
	}
	_, text, _ = strings.Cut(text, "\n"+field+":")
	_, err = fmt.Sscan(text, &value)
	return value, err
}

// redisCPU returns the CPU time Redis' own thread has used, in µs.
func redisCPU(ctx context.Context, client redis.UniversalClient) (float64, error) {
	user, err := infoField(ctx, client, "cpu", "used_cpu_user_main_thread")
	if err != nil {
		return 0, err
	}
	system, err := infoField(ctx, client, "cpu", "used_cpu_sys_main_thread")
	return (user + system) * 1e6, err
}

// commandStats returns how often Redis ran a command, and for how many µs in
// all. One it did not run is an error.
func commandStats(ctx context.Context, client redis.UniversalClient, command string) (calls, usec float64, err error) {
	text, err := client.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0, 0, err
	}
	_, text, _ = strings.Cut(text, "cmdstat_"+command+":")
	_, err = fmt.Sscanf(text, "calls=%g,usec=%g", &calls, &usec)
	return calls, usec, err
}

// tags are what the keys of each shard begin with, as redisstore has them.
var tags = func() (tags [shards]string) {
	for n := range tags {
		tags[n] = fmt.Sprintf("p{%d}", n)
	}
	return tags
}()

// tagOf returns the tag of a user's shard.
func tagOf(user string) string {
	h := fnv.New32a()
	_, _ = io.WriteString(h, user)
	return tags[h.Sum32()%shards]
}

// hashLength is how much of the hash of a user's id redisstore names the user's
// keys by.
const hashLength = 20

// pageKey returns the key of user n's page. The hashes are made beforehand: a
// limit needs none.
func (w *world) pageKey(tag string, n int) string {
	return tag + ":p:" + string(w.hashes[n*hashLength:(n+1)*hashLength])
}

// turn says which of two pages user n goes to next: not the one of the last call.
func (w *world) turn(n int) uint32 { return w.turns[n].Add(1) % 2 }

// silent is a Publisher without a bus.
type silent struct{}

func (silent) Publish(context.Context, []presence.Event) (int, error) { return 0, nil }

// userID returns the id of user n: 36 characters, as Cognito's are.
func userID(n int) string { return fmt.Sprintf("%08x-5f3a-4c1e-9b7d-%012x", uint32(n)*2654435761, n) }

// The pages of the benchmark: 115 bytes of URL and title, and another.
var (
	page = presence.Page{
		URL:   "https://www.example.com/products/garden/furniture/chairs/47?colour=teak",
		Title: "Teak chair, folding - Garden furniture - Ex.",
	}
	otherPage = presence.Page{URL: page.URL + "&x", Title: page.Title}
)

func noSession(int) string { return "" }

// event returns the JSON AppSync calls the Lambda with, up to the caller's id
// and from there on: what a browser and Cognito send, tokens included.
func event(parent, field, arguments string) (head, tail string) {
	const mark = "USER"
	text := strings.NewReplacer("FIELD", field, "PARENT", parent, "ARGUMENTS", arguments, "TOKEN", strings.Repeat("eyJraWQiOiJ", 90)).Replace(
		`{"arguments":ARGUMENTS,"identity":{"claims":{"sub":"1d6f2a9c-5f3a-4c1e-9b7d-000000000000","device_key":"eu-central-1_1d6f2a9c-5f3a-4c1e-9b7d-0242ac120002","cognito:groups":["readers"],"iss":"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example00","client_id":"3n4b5urk1ft4fl3mg5e62d9ado","origin_jti":"8a1f0e0c-5a33-4b8e-8a53-7e0f0f0f0f0f","event_id":"f0b8a0f2-4f65-4d6c-a5ba-1a2b3c4d5e6f","token_use":"access","scope":"aws.cognito.signin.user.admin","auth_time":1764000000,"exp":1764003600,"iat":1764000000,"jti":"3c7a0e0c-5a33-4b8e-8a53-0f0f0f0f0f0f","username":"1d6f2a9c-5f3a-4c1e-9b7d-000000000000"},"defaultAuthStrategy":"ALLOW","groups":["readers"],"issuer":"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example00","sourceIp":["203.0.113.7"],"sub":"USER","username":"1d6f2a9c-5f3a-4c1e-9b7d-000000000000"},"source":null,"request":{"headers":{"x-forwarded-for":"203.0.113.7, 64.252.173.1","cloudfront-viewer-country":"DE","cloudfront-is-tablet-viewer":"false","cloudfront-is-mobile-viewer":"false","cloudfront-is-desktop-viewer":"true","cloudfront-is-smarttv-viewer":"false","cloudfront-viewer-asn":"3320","cloudfront-forwarded-proto":"https","via":"2.0 0123456789abcdef0123456789abcdef.cloudfront.net (CloudFront)","host":"abcdefghijklmnopqrstuvwxyz.appsync-api.eu-central-1.amazonaws.com","user-agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36","accept":"application/json, text/plain, */*","accept-language":"de,en-US;q=0.7,en;q=0.3","accept-encoding":"gzip, deflate, br, zstd","content-type":"application/json; charset=UTF-8","content-length":"412","origin":"https://www.example.com","referer":"https://www.example.com/","sec-fetch-dest":"empty","sec-fetch-mode":"cors","sec-fetch-site":"cross-site","x-amz-cf-id":"0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghij==","x-amzn-trace-id":"Root=1-67891234-0123456789abcdef01234567","x-amz-user-agent":"aws-amplify/6.15.5 api/1 framework/1","authorization":"TOKEN"},"domainName":null},"prev":null,"info":{"selectionSetList":["userId","status","url","title","lastSeen","asOf","expiresAt","heartbeatIntervalMs"],"selectionSetGraphQL":"{\n  userId\n  status\n  url\n  title\n  lastSeen\n  asOf\n  expiresAt\n  heartbeatIntervalMs\n}","parentTypeName":"PARENT","fieldName":"FIELD","variables":{}},"stash":{}}`)
	head, tail, _ = strings.Cut(text, mark)
	return head, tail
}

// visit returns the arguments of connect and heartbeat.
func visit(p presence.Page) string { return fmt.Sprintf(`{"url":%q,"title":%q}`, p.URL, p.Title) }
