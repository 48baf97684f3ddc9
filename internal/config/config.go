// Package config is what the Lambda function is configured by. The binary
// parses it from its environment, the CDK stack writes that environment from
// the same struct, and the command line takes its flags from it.
package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"presence"
)

const (
	// FunctionTimeout is the function's time limit on Lambda. It leaves the longest
	// scheduled sweep 10 s for its last pass. AppSync waits at most 30 s for a call,
	// whatever this says.
	FunctionTimeout = 80 * time.Second
	// longestSweep is the greatest SweepFor. It is longer than the minute until the
	// next sweep begins, so that two sweeps can overlap.
	longestSweep = FunctionTimeout - 10*time.Second
)

// Config is the handler's configuration. Every field is an environment
// variable; an unset one has its default.
type Config struct {
	presence.Timing `embed:""`
	Redis           `embed:""`
	// Shards is how many parts the users are spread over. Every instance must
	// agree, and changing it forgets everybody.
	Shards int `env:"PRESENCE_SHARDS" default:"16" help:"Parts the users are spread over."`
	// SweepFor is how long a scheduled run stays up, sleeping from deadline to
	// deadline. The next begins after a minute: less leaves a gap in which nobody
	// looks for timeouts, and more does no harm. Zero means one pass a run.
	SweepFor time.Duration `env:"PRESENCE_SWEEP_FOR" default:"60s" help:"How long a scheduled sweep stays up; 0 is one pass a run."`
	// EventBus is the name or ARN of the bus changes are published to.
	EventBus string `env:"PRESENCE_EVENT_BUS" default:"presence" help:"EventBridge bus changes are published to."`
	// MetricsNamespace is the CloudWatch namespace of the function's metrics. Only
	// the function has one: it is no flag of the command line.
	MetricsNamespace string `env:"PRESENCE_METRICS_NAMESPACE" default:"Presence" kong:"-"`
}

// Redis says where the two stores are.
type Redis struct {
	// RedisURL is a redis:// or rediss:// URL.
	RedisURL string `env:"PRESENCE_REDIS_URL" help:"Redis for presence, redis:// or rediss://."`
	// StatusRedisURL is where page info is kept. Empty means the same Redis.
	StatusRedisURL string `env:"PRESENCE_STATUS_REDIS_URL" help:"Redis for page info; the same one by default."`
	RedisCluster   bool   `env:"PRESENCE_REDIS_CLUSTER" help:"Both are Redis Clusters."`
	// RedisIAMUser and RedisIAMCache turn on ElastiCache IAM authentication, as
	// that user of that cache; RedisIAMServerless says it is a serverless one.
	// Only the function does that: they are no flags of the command line.
	RedisIAMUser       string `env:"PRESENCE_REDIS_IAM_USER" kong:"-"`
	RedisIAMCache      string `env:"PRESENCE_REDIS_IAM_CACHE" kong:"-"`
	RedisIAMServerless bool   `env:"PRESENCE_REDIS_IAM_SERVERLESS" kong:"-"`
}

// FromEnv parses the process environment and validates the result.
func FromEnv() (Config, error) {
	var c Config
	if err := env.ParseWithOptions(&c, env.Options{DefaultValueTagName: "default"}); err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	return c, c.Validate()
}

// Validate returns an [presence.InvalidArgument] error that says what is wrong.
func (c Config) Validate() error {
	if err := c.Timing.Validate(); err != nil {
		return err
	}
	switch {
	case c.RedisURL == "":
		return presence.Errorf(presence.InvalidArgument, "PRESENCE_REDIS_URL is not set: give a redis:// or rediss:// URL.")
	case c.Shards < 1 || c.Shards > 1024:
		return presence.Errorf(presence.InvalidArgument, "The number of shards (%d) must be from 1 to 1024.", c.Shards)
	case c.SweepFor < 0 || c.SweepFor > longestSweep:
		return presence.Errorf(presence.InvalidArgument, "A scheduled sweep (%v) must stay up for at most %gs; the next begins after a minute.", c.SweepFor, longestSweep.Seconds())
	case (c.RedisIAMUser == "") != (c.RedisIAMCache == ""):
		return presence.Errorf(presence.InvalidArgument, "PRESENCE_REDIS_IAM_USER and PRESENCE_REDIS_IAM_CACHE go together.")
	case c.RedisIAMUser != "" && strings.Contains(c.RedisURL+" "+c.StatusRedisURL, "redis://"):
		return presence.Errorf(presence.InvalidArgument, "ElastiCache takes IAM users by TLS alone, and others would read the token: give rediss:// URLs.")
	}
	return nil
}

// Env returns the environment that [FromEnv] parses back into c.
func (c Config) Env() map[string]string {
	vars := map[string]string{}
	collect(reflect.ValueOf(c), vars)
	return vars
}

func collect(v reflect.Value, vars map[string]string) {
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		if name := field.Tag.Get("env"); name != "" {
			if !value.IsZero() || field.Tag.Get("default") != "" {
				vars[name] = fmt.Sprint(value.Interface())
			}
		} else if value.Kind() == reflect.Struct {
			collect(value, vars)
		}
	}
}
