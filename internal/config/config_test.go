package config_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"presence"
	"presence/internal/config"
)

// What the stack writes is what the binary reads.
func TestEnvRoundTrip(t *testing.T) {
	want := config.Config{
		Timing: presence.Timing{Heartbeat: 10 * time.Second, Timeout: 35 * time.Second, Retention: time.Hour},
		Redis: config.Redis{
			RedisURL: "rediss://a:6379", StatusRedisURL: "rediss://b:6379", RedisCluster: true,
			RedisIAMUser: "presence", RedisIAMCache: "cache", RedisIAMServerless: true,
		},
		Shards: 8, SweepFor: 0, EventBus: "bus", MetricsNamespace: "Presence/other",
	}
	for name, value := range want.Env() {
		t.Setenv(name, value)
	}
	got, err := config.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	t.Setenv("PRESENCE_REDIS_URL", "redis://localhost")
	c, err := config.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		Timing: presence.Timing{Heartbeat: 30 * time.Second, Timeout: 75 * time.Second, Retention: 720 * time.Hour},
		Redis:  config.Redis{RedisURL: "redis://localhost"},
		Shards: 16, SweepFor: time.Minute, EventBus: "presence", MetricsNamespace: "Presence",
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestValidate(t *testing.T) {
	for name, vars := range map[string]map[string]string{
		"no-redis":              {},
		"timeout-too-short":     {"PRESENCE_REDIS_URL": "redis://x", "PRESENCE_TIMEOUT": "59s"},
		"heartbeat-too-short":   {"PRESENCE_REDIS_URL": "redis://x", "PRESENCE_HEARTBEAT": "1ms"},
		"retention-too-short":   {"PRESENCE_REDIS_URL": "redis://x", "PRESENCE_RETENTION": "1s"},
		"no-shards":             {"PRESENCE_REDIS_URL": "redis://x", "PRESENCE_SHARDS": "0"},
		"sweep-beyond-minute":   {"PRESENCE_REDIS_URL": "redis://x", "PRESENCE_SWEEP_FOR": "2m"},
		"iam-user-but-no-cache": {"PRESENCE_REDIS_URL": "redis://x", "PRESENCE_REDIS_IAM_USER": "u"},
		"iam-without-tls":       {"PRESENCE_REDIS_URL": "redis://x", "PRESENCE_REDIS_IAM_USER": "u", "PRESENCE_REDIS_IAM_CACHE": "c"},
		"iam-one-without-tls":   {"PRESENCE_REDIS_URL": "rediss://x", "PRESENCE_STATUS_REDIS_URL": "redis://y", "PRESENCE_REDIS_IAM_USER": "u", "PRESENCE_REDIS_IAM_CACHE": "c"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range vars {
				t.Setenv(k, v)
			}
			_, err := config.FromEnv()
			if err == nil || presence.AsError(err).Code != presence.InvalidArgument {
				t.Errorf("got %v, want InvalidArgument", err)
			}
		})
	}
}
