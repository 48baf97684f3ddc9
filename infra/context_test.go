package infra_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"presence"
	"presence/infra"
	"presence/internal/config"
)

var update = flag.Bool("update", false, "rewrite the table of docs/deploy.md")

func TestParseContext(t *testing.T) {
	t.Parallel()
	got, err := infra.ParseContext(map[string]any{
		// As cdk.json and as the command line give them, and what is the CDK's.
		"userPoolId": "eu-central-1_Pool", "userPoolClientIds": []any{"a", "b"}, "xray": true, "archiveDays": 7.0,
		"reservedConcurrency": "1000000", "heartbeat": "10s", "timeout": "35s", "sweepFor": "0s",
		"@aws-cdk/core:target-partitions": []any{"aws"}, "cli-telemetry": false, "aws:cdk:bundling-stacks": []any{"**"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := infra.Context{
		Name: "presence", Stage: "development", UserPoolID: "eu-central-1_Pool", UserPoolClientIDs: []string{"a", "b"},
		Redis: "serverless", RedisNodeType: "cache.t4g.micro", ReservedConcurrency: new(1_000_000), UserPoolPlan: "lite", RedisMaxGB: 5, RedisMaxECPU: 30_000,
		LogRetentionDays: 30, FieldLogs: "ERROR", XRay: true, ArchiveDays: 7,
		Config: config.Config{
			Timing: presence.Timing{Heartbeat: 10 * time.Second, Timeout: 35 * time.Second, Retention: 720 * time.Hour},
			Shards: 16, EventBus: "presence", MetricsNamespace: "Presence",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseContextRefuses(t *testing.T) {
	t.Parallel()
	external := func(redis string) map[string]any {
		return map[string]any{"redis": redis, "redisSecurityGroupId": "sg-1", "vpcId": "vpc-1"}
	}
	for name, test := range map[string]struct {
		context map[string]any
		says    string
	}{
		"unknown-key":              {map[string]any{"timeuot": "75s"}, "timeuot"},
		"no-boolean":               {map[string]any{"xray": "perhaps"}, "XRay"},
		"no-duration":              {map[string]any{"heartbeat": "30"}, "Heartbeat"},
		"capital-name":             {map[string]any{"name": "Presence"}, "name"},
		"long-name":                {map[string]any{"name": strings.Repeat("a", 31)}, "name"},
		"double-hyphen":            {map[string]any{"name": "a--b"}, "name"},
		"stage":                    {map[string]any{"stage": "staging"}, "development or production"},
		"clients-but-no-pool":      {map[string]any{"userPoolClientIds": "a"}, "userPoolId"},
		"no-group-of-redis":        {map[string]any{"redis": "redis://host", "vpcId": "vpc-1"}, "redisSecurityGroupId"},
		"group-of-own-redis":       {map[string]any{"redisSecurityGroupId": "sg-1"}, "redis that is a URL"},
		"misspelt-redis":           {external("serverles"), "serverless, nodes, or a URL"},
		"no-host":                  {external("redis://"), "serverless, nodes, or a URL"},
		"port-too-high":            {external("redis://host:100000"), "port"},
		"password-in-clear":        {external("redis://u:hunter2@host"), "Secrets Manager"},
		"status-password-in-clear": {map[string]any{"redis": "redis://host", "statusRedisUrl": "redis://u:hunter2@host", "redisSecurityGroupId": "sg-1", "vpcId": "vpc-1"}, "Secrets Manager"},
		"concurrency-of-one":       {map[string]any{"reservedConcurrency": "1"}, "at least 2"},
		"negative-concurrency":     {map[string]any{"reservedConcurrency": "-1"}, "negative"},
		"log-retention":            {map[string]any{"logRetentionDays": 31.0}, "one of"},
		"field-logs":               {map[string]any{"fieldLogs": "error"}, "one of"},
		"negative-archive":         {map[string]any{"archiveDays": "-1"}, "negative"},
		"topic":                    {map[string]any{"alarmTopicArn": "alarms"}, "ARN"},
		"timeout-too-short":        {map[string]any{"timeout": "59s"}, "twice the heartbeat"},
		"sweep-too-long":           {map[string]any{"sweepFor": "2m"}, "70s"},
		// D4, D6 and D9 of the trials.
		"D4-redis-without-vpc":        {map[string]any{"redis": "rediss://host", "redisSecurityGroupId": "sg-1"}, "vpcId"},
		"D3-one-zone":                 {map[string]any{"zones": "eu-central-1a"}, "two or three zones"},
		"D3-zones-of-existing-vpc":    {map[string]any{"zones": "eu-central-1a,eu-central-1b", "vpcId": "vpc-1"}, "subnetIds"},
		"D3-subnets-of-new-vpc":       {map[string]any{"subnetIds": "subnet-a,subnet-b"}, "vpcId"},
		"D6-name-of-the-default-user": {map[string]any{"name": "default"}, "default is taken"},
		"D6-client-pattern":           {map[string]any{"userPoolId": "eu-central-1_Pool", "userPoolClientIds": ".*"}, "userPoolClientIds"},
		"D6-client-alternative":       {map[string]any{"userPoolId": "eu-central-1_Pool", "userPoolClientIds": "a,b|c"}, "userPoolClientIds"},
		"D6-client-empty":             {map[string]any{"userPoolId": "eu-central-1_Pool", "userPoolClientIds": "a,"}, "userPoolClientIds"},
		"D6-pool":                     {map[string]any{"userPoolId": "arn:aws:cognito-idp:x"}, "userPoolId"},
		"D9-no-tls-in-production": {map[string]any{
			"stage": "production", "redis": "redis://host", "redisSecurityGroupId": "sg-1", "vpcId": "vpc-1",
		}, "rediss://"},
		"D9-no-tls-for-pages-in-production": {map[string]any{
			"stage": "production", "redis": "rediss://host", "statusRedisUrl": "redis://pages", "redisSecurityGroupId": "sg-1", "vpcId": "vpc-1",
		}, "rediss://"},
		"D10-plan":            {map[string]any{"userPoolPlan": "free"}, "lite, essentials or plus"},
		"D11-no-data":         {map[string]any{"redisMaxGB": "0"}, "redisMaxGB"},
		"D11-too-little-work": {map[string]any{"redisMaxECPU": "999"}, "redisMaxECPU"},
		"no-shards":           {map[string]any{"shards": "0"}, "shards"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := infra.ParseContext(test.context)
			if err == nil || presence.AsError(err).Code != presence.InvalidArgument || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want an InvalidArgument that says %q", err, test.says)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

// docs/deploy.md has the table of context keys as the code has them; -update
// rewrites it.
func TestDocumentedContext(t *testing.T) {
	t.Parallel()
	const file, begin, end = "../docs/deploy.md", "<!-- context -->\n", "<!-- /context -->\n"
	var table strings.Builder
	table.WriteString("| key | default | what it says |\n| --- | --- | --- |\n")
	for _, k := range infra.Keys() {
		value := ""
		if k.Default != "" {
			value = "`" + k.Default + "`"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", k.Name, value, k.Help)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(b), begin)
	documented, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no %s…%s", file, begin, end)
	}
	if *update {
		if err := os.WriteFile(file, []byte(head+begin+table.String()+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(table.String(), documented); diff != "" {
		t.Errorf("go test ./infra -run DocumentedContext -update: -code +docs:\n%s", diff)
	}
}

// D12: docs/deploy.md asks for the Node.js that package.json does, and its
// commands name users of Cognito by the id Cognito gave them.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	read := func(file string) string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	deploy := read("../docs/deploy.md")
	engine := regexp.MustCompile(`"node": ">=(\d+)"`).FindStringSubmatch(read("../package.json"))
	if engine == nil || !strings.Contains(deploy, "Node.js "+engine[1]+" or later") {
		t.Errorf("docs/deploy.md does not ask for the Node.js of package.json (%v)", engine)
	}
	commands := regexp.MustCompile(`presence watch (\S+) --outputs`).FindAllStringSubmatch(deploy+read("../README.md"), -1)
	if len(commands) == 0 {
		t.Errorf("found %v", commands)
	}
	for _, c := range commands {
		if c[1] != "USER_ID" && c[1] != `"$alice"` {
			t.Errorf("%q: %s is no id of Cognito", c[0], c[1])
		}
	}
}
