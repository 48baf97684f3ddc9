package resolvers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"presence/internal/testenv"
)

// What an operation costs Redis, as Redis itself counts: the commands, those
// within scripts too, and the reads from the network, of which every round trip
// is one. Unlike times, neither depends on the machine.
func TestCommands(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	w := newWorldOn(t, server.URL, nil)
	admin := redis.NewClient(&redis.Options{Addr: server.Addr})
	t.Cleanup(func() { admin.Close() })

	const tab = `{"url":"https://example.com/tab","title":"Tab","sessionId":"tab"}`
	operations := []struct {
		name, caller, field, arguments string
		trips                          int
		commands                       string
	}{
		// Each prepares those below it.
		{"connect", "USER", "connect", home, 1, "evalsha exists get hget hset set time zadd*2 zrem zscore"},
		{"connect-same-page", "USER", "connect", home, 1, "evalsha exists get hget pexpire time zadd zscore"},
		{"connect-other-page", "USER", "connect", about, 1, "evalsha exists get hget*2 hset set time zadd*2 zscore"},
		{"heartbeat", "USER", "heartbeat", about, 1, "evalsha exists get hget pexpire time zadd zscore"},
		{"status", "", "status", `{"userId":"USER"}`, 1, "evalsha get hget*2 time zscore*2"},
		{"status-of-nobody", "", "status", `{"userId":"USER-not"}`, 1, "evalsha get hget*2 time zscore*2"},
		{"statuses", "", "statuses", `{"userIds":["USER","a","b","c","d"]}`, 1, "evalsha*2 hget*2 hmget*2 mget*2 time*2 zmscore*4"},
		{"connect-second-session", "USER", "connect", tab, 1, "evalsha exists get hget*2 hset pexpire set time zadd*4 zremrangebyrank zremrangebyscore zscore"},
		{"heartbeat-of-session", "USER", "heartbeat", tab, 1, "evalsha get hget pexpire*2 time zadd*2 zscore"},
		{"disconnect-one-session", "USER", "disconnect", `{"sessionId":"tab"}`, 1, "evalsha exists get*2 hdel hget hset pexpire pttl time zadd*2 zrem zrevrange zscore*2"},
		{"disconnect-the-last", "USER", "disconnect", `{}`, 1, "del evalsha exists get hdel hget hset*2 time zadd*2 zrem*2 zrevrange zscore*2"},
		{"disconnect-nobody", "USER", "disconnect", `{}`, 1, "evalsha exists hget time zscore*2"},
		{"heartbeat-brings-back", "USER", "heartbeat", home, 2, "evalsha*2 exists get hget hset set time*2 zadd*2 zrem zscore*2"},
		{"announce", "", "connected", `{"userId":"USER"}`, 2, "evalsha*2 get hdel hget*3 time zrem zscore*2"},
		{"sweep-of-2-shards-idle", "", "", "", 2, "evalsha*2 hdel*2 hmget*2 hset*2 time*2 zcard*4 zrange*4 zrangebyscore*10"},
	}
	// The first time, scripts have yet to be loaded.
	for _, user := range []string{"warmed-up", "counted"} {
		for _, op := range operations {
			if err := admin.ConfigResetStat(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			if op.field == "" {
				w.sweep()
			} else if got := w.invoke(payload(strings.ReplaceAll(op.caller, "USER", user), op.field, strings.ReplaceAll(op.arguments, "USER", user))); got.Error != nil {
				t.Fatal(op.name, got.Error)
			}
			trips, commands := spent(t, admin)
			if user == "counted" && (trips != op.trips || commands != op.commands) {
				t.Errorf("%s:\n got %d round trips: %s\nwant %d round trips: %s", op.name, trips, commands, op.trips, op.commands)
			}
		}
	}
}

// spent returns what Redis has done since its statistics were reset.
func spent(t *testing.T, admin *redis.Client) (trips int, commands string) {
	t.Helper()
	info, err := admin.Info(t.Context(), "stats", "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		var n int
		if name == "total_reads_processed" {
			fmt.Sscan(value, &trips)
			trips-- // INFO's own
		} else if name, ok := strings.CutPrefix(name, "cmdstat_"); ok && !strings.HasPrefix(name, "config") {
			fmt.Sscanf(value, "calls=%d", &n)
			if name == "hello" { // a connection more
				trips -= n
				continue
			}
			if n > 1 {
				name += fmt.Sprint("*", n)
			}
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return trips, strings.Join(names, " ")
}
