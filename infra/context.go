package infra

import (
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caarlos0/env/v11"

	"presence"
	"presence/internal/config"
)

// Context is what a deployment is configured by: the CDK context of cdk.json
// and of cdk's -c flag. docs/deploy.md shows every key.
type Context struct {
	Name              string   `context:"name" default:"presence" help:"Name of the stack, and of its cache and cache user: at most 30 lower-case letters, digits and single hyphens."`
	Stage             string   `context:"stage" default:"development" help:"development: tearing down removes everything. production: the stack is protected from deletion, and its user pool and logs outlive it."`
	UserPoolID        string   `context:"userPoolId" help:"Existing Cognito user pool, of the stack's region, whose users may call. Empty: a new pool with one public app client."`
	UserPoolClientIDs []string `context:"userPoolClientIds" help:"App clients of that pool that may call, with commas between; the first goes into the outputs. Empty: all of them."`
	UserPoolPlan      string   `context:"userPoolPlan" default:"lite" help:"Cognito's plan of the new pool: lite, essentials or plus. They differ in what a user costs a month."`
	VPCID             string   `context:"vpcId" help:"Existing VPC with isolated or private subnets; needed for a redis that is a URL. Empty: a new one with no way to the internet."`
	SubnetIDs         []string `context:"subnetIds" help:"Subnets of that VPC to use, two or three in different zones, with commas between. Empty: one a zone, isolated ones before private ones."`
	Zones             []string `context:"zones" help:"Two or three zones of the new VPC, with commas between, where one lacks a service. Empty: the region's first two."`
	// Redis is a kind or a URL rather than two keys that could contradict each
	// other.
	Redis                string `context:"redis" default:"serverless" help:"serverless: ElastiCache Serverless for Valkey. nodes: a replication group of two Valkey nodes. Or the redis:// or rediss:// URL of one the VPC reaches; a password in it must be a {{resolve:secretsmanager:…}} reference, and production takes rediss:// alone."`
	RedisNodeType        string `context:"redisNodeType" default:"cache.t4g.micro" help:"Node type of redis=nodes."`
	RedisCluster         bool   `context:"redisCluster" help:"The Redis at that URL is a Redis Cluster."`
	RedisSecurityGroupID string `context:"redisSecurityGroupId" help:"Security group of the Redis at that URL; it gets a rule that lets the function in."`
	StatusRedisURL       string `context:"statusRedisUrl" help:"URL of a second Redis for page info, in the same security group. Empty: the same Redis."`
	RedisMaxGB           int    `context:"redisMaxGB" default:"5" help:"Most data redis=serverless may hold, in GB: a bound on its bill. Over it, writes are refused."`
	RedisMaxECPU         int    `context:"redisMaxECPU" default:"30000" help:"Most work redis=serverless may do, in ECPU a second: a bound on its bill. Over it, calls are throttled."`
	ReservedConcurrency  *int   `context:"reservedConcurrency" help:"How many runs of the function are reserved, and at most allowed, at a time: a bound on its bill. 0: what the account has left. Empty: 100 in production, 0 in development."`
	LogRetentionDays     int    `context:"logRetentionDays" default:"30" help:"Days logs are kept: one of the periods CloudWatch offers."`
	FieldLogs            string `context:"fieldLogs" default:"ERROR" help:"AppSync's field log level: NONE, ERROR, INFO, DEBUG or ALL; never with variables or headers."`
	XRay                 bool   `context:"xray" help:"Trace AppSync and the function with X-Ray."`
	ArchiveDays          int    `context:"archiveDays" help:"Days the bus archives its events. 0: no archive."`
	AlarmTopicARN        string `context:"alarmTopicArn" help:"SNS topic that alarms notify. Empty: they notify nobody."`

	// Config is what the function is configured by. The context gives its
	// timing, shards and sweep; Redis and the bus are the stack's to fill in.
	Config config.Config `context:"-"`
}

// The stages, and the kinds of Redis the stack can create.
const (
	development = "development"
	production  = "production"
	serverless  = "serverless"
	nodes       = "nodes"
)

// configKeys are the context keys that are variables of the function.
var configKeys = map[string]string{
	"heartbeat": "PRESENCE_HEARTBEAT",
	"timeout":   "PRESENCE_TIMEOUT",
	"retention": "PRESENCE_RETENTION",
	"shards":    "PRESENCE_SHARDS",
	"sweepFor":  "PRESENCE_SWEEP_FOR",
}

// Key describes one context key.
type Key struct{ Name, Default, Help string }

// Keys returns every context key.
func Keys() []Key {
	var keys []Key
	collect(reflect.TypeFor[Context](), func(name string) string { return name }, "context", &keys)
	collect(reflect.TypeFor[config.Config](), func(variable string) string {
		for key, v := range configKeys {
			if v == variable {
				return key
			}
		}
		return ""
	}, "env", &keys)
	return keys
}

func collect(t reflect.Type, key func(tag string) string, tag string, keys *[]Key) {
	for f := range t.Fields() {
		switch name := f.Tag.Get(tag); {
		case name == "-":
		case key(name) != "":
			*keys = append(*keys, Key{key(name), f.Tag.Get("default"), f.Tag.Get("help")})
		case name == "" && f.Type.Kind() == reflect.Struct:
			collect(f.Type, key, tag, keys)
		}
	}
}

// ownKey tells keys of ours from the CDK's: feature flags and cached look-ups
// hold an @, a slash, a colon or a hyphen.
var ownKey = regexp.MustCompile(`^[a-zA-Z0-9]+$`)

// ParseContext reads and validates a Context. A key nobody knows is an error,
// because a mistyped one would quietly deploy the default.
func ParseContext(values map[string]any) (Context, error) {
	known := map[string]bool{}
	for _, k := range Keys() {
		known[k.Name] = true
	}
	given, variables := map[string]string{}, map[string]string{}
	for name, value := range values {
		if !ownKey.MatchString(name) {
			continue
		}
		if !known[name] {
			return Context{}, presence.Errorf(presence.InvalidArgument, "There is no context key %q: docs/deploy.md lists those there are.", name)
		}
		given[name] = text(value)
		if v, ok := configKeys[name]; ok {
			variables[v] = given[name]
		}
	}
	var c Context
	if err := env.ParseWithOptions(&c, env.Options{TagName: "context", DefaultValueTagName: "default", Environment: given}); err != nil {
		return Context{}, presence.Errorf(presence.InvalidArgument, "The context cannot be read: %v.", err)
	}
	if err := env.ParseWithOptions(&c.Config, env.Options{DefaultValueTagName: "default", Environment: variables}); err != nil {
		return Context{}, presence.Errorf(presence.InvalidArgument, "The context cannot be read: %v.", err)
	}
	return c, c.validate()
}

// text returns a context value, which is JSON from cdk.json and a string from
// the command line, as the string it would be there.
func text(value any) string {
	switch v := value.(type) {
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		items := make([]string, len(v))
		for i := range v {
			items[i] = text(v[i])
		}
		return strings.Join(items, ",")
	}
	return fmt.Sprint(value)
}

var (
	validPool     = regexp.MustCompile(`^[a-z0-9-]+_[a-zA-Z0-9]+$`)
	validClient   = regexp.MustCompile(`^[a-z0-9]+$`)
	validName     = regexp.MustCompile(`^[a-z](-?[a-z0-9])*$`)
	retentionDays = []int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}
	fieldLogs     = []string{"NONE", "ERROR", "INFO", "DEBUG", "ALL"}
	// secretReference is a CloudFormation dynamic reference, which only the
	// deployment resolves.
	secretReference = regexp.MustCompile(`\{\{resolve:secretsmanager:[^{}]+\}\}`)
)

func (c Context) validate() error {
	invalid := func(format string, args ...any) error {
		return presence.Errorf(presence.InvalidArgument, format, args...)
	}
	switch {
	case len(c.Name) > 30 || !validName.MatchString(c.Name):
		return invalid("The name %q must be at most 30 lower-case letters, digits and single hyphens, and begin with a letter.", c.Name)
	case c.Name == "default":
		return invalid("The name default is taken: every cache has a user of that name.")
	case c.Stage != development && c.Stage != production:
		return invalid("The stage %q must be development or production.", c.Stage)
	case c.UserPoolID == "" && c.UserPoolClientIDs != nil:
		return invalid("userPoolClientIds are the app clients of an existing pool: give its userPoolId too.")
	case c.UserPoolID != "" && !validPool.MatchString(c.UserPoolID):
		return invalid("userPoolId %q is no id of a user pool, such as eu-central-1_AbCdEf123.", c.UserPoolID)
	case slices.ContainsFunc(c.UserPoolClientIDs, func(id string) bool { return !validClient.MatchString(id) }):
		return invalid("userPoolClientIds %q must be ids of app clients, of lower-case letters and digits, with commas between.", c.UserPoolClientIDs)
	case c.VPCID == "" && c.SubnetIDs != nil:
		return invalid("subnetIds are subnets of an existing VPC: give its vpcId too.")
	case c.VPCID != "" && c.Zones != nil:
		return invalid("zones are those of a new VPC: for the one of vpcId give subnetIds.")
	case c.SubnetIDs != nil && !twoOrThree(c.SubnetIDs):
		return invalid("subnetIds must name two or three subnets.")
	case c.Zones != nil && !twoOrThree(c.Zones):
		return invalid("zones must name two or three zones, such as eu-central-1a,eu-central-1b.")
	case c.external() && c.VPCID == "":
		return invalid("A Redis at a URL is in a VPC of yours, and the function must be in it too: give its vpcId.")
	case c.external() && c.RedisSecurityGroupID == "":
		return invalid("The Redis at redis needs its redisSecurityGroupId: the function's traffic is let out to that group alone.")
	case !c.external() && (c.RedisSecurityGroupID != "" || c.StatusRedisURL != "" || c.RedisCluster):
		return invalid("redisSecurityGroupId, statusRedisUrl and redisCluster go with a redis that is a URL.")
	case plans[c.UserPoolPlan] == "":
		return invalid("userPoolPlan %q must be lite, essentials or plus.", c.UserPoolPlan)
	case c.RedisMaxGB < 1 || c.RedisMaxGB > 5000:
		return invalid("redisMaxGB (%d) must be from 1 to 5000.", c.RedisMaxGB)
	case c.RedisMaxECPU < 1000 || c.RedisMaxECPU > 15_000_000:
		return invalid("redisMaxECPU (%d) must be from 1000 to 15000000.", c.RedisMaxECPU)
	case c.concurrency() < 0:
		return invalid("reservedConcurrency (%d) must not be negative.", c.concurrency())
	case c.concurrency() == 1:
		return invalid("reservedConcurrency must be at least 2: the sweep alone takes one run for most of each minute.")
	case !slices.Contains(retentionDays, c.LogRetentionDays):
		return invalid("logRetentionDays (%d) must be one of %v.", c.LogRetentionDays, retentionDays)
	case !slices.Contains(fieldLogs, c.FieldLogs):
		return invalid("fieldLogs %q must be one of %v.", c.FieldLogs, fieldLogs)
	case c.ArchiveDays < 0:
		return invalid("archiveDays (%d) must not be negative.", c.ArchiveDays)
	case c.AlarmTopicARN != "" && !strings.HasPrefix(c.AlarmTopicARN, "arn:"):
		return invalid("alarmTopicArn %q is not an ARN.", c.AlarmTopicARN)
	}
	for _, redis := range c.urls() {
		if _, err := redisPort(redis); err != nil {
			return err
		}
		if c.Stage == production && !strings.HasPrefix(redis, "rediss://") {
			return invalid("In production redis and statusRedisUrl must begin with rediss://: without TLS, everything the function tells Redis could be read on the way, a password among it.")
		}
	}
	// What the stack fills in cannot be missing, so a stand-in is validated.
	function := c.Config
	function.RedisURL = "rediss://stack"
	return function.Validate()
}

// twoOrThree tells whether there are two or three names, all different.
func twoOrThree(names []string) bool {
	different := slices.Compact(slices.Sorted(slices.Values(names)))
	return len(different) == len(names) && different[0] != "" && len(names) >= minZones && len(names) <= maxZones
}

// concurrency returns how many runs are reserved; zero means none.
func (c Context) concurrency() int {
	switch {
	case c.ReservedConcurrency != nil:
		return *c.ReservedConcurrency
	case c.Stage == production:
		return 100
	}
	return 0
}

// external tells whether Redis is somebody else's.
func (c Context) external() bool { return c.Redis != serverless && c.Redis != nodes }

// urls returns the URLs of somebody else's Redis.
func (c Context) urls() []string {
	switch {
	case !c.external():
		return nil
	case c.StatusRedisURL == "":
		return []string{c.Redis}
	}
	return []string{c.Redis, c.StatusRedisURL}
}

// redisPort returns the port of a Redis URL. A password in clear is refused: it
// would stand in the template, in the stack's history and in the console.
func redisPort(raw string) (float64, error) {
	// A reference is no valid user info, so a word stands for it; the URL is not
	// shown, for it may hold a secret.
	u, err := url.Parse(secretReference.ReplaceAllString(raw, "secret"))
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" {
		return 0, presence.Errorf(presence.InvalidArgument, "redis must be serverless, nodes, or a URL such as rediss://host:6379; statusRedisUrl such a URL.")
	}
	if password, _ := u.User.Password(); password != "" && password != "secret" {
		return 0, presence.Errorf(presence.InvalidArgument, "The password in the URL of the Redis at %s would be readable in the template: put it into Secrets Manager and write {{resolve:secretsmanager:NAME}} instead.", u.Host)
	}
	if u.Port() == "" {
		return redisPortDefault, nil
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return 0, presence.Errorf(presence.InvalidArgument, "The port in the URL of the Redis at %s must be at most 65535.", u.Host)
	}
	return float64(port), nil
}
