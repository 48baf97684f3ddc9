package infra_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"presence"
	"presence/internal/announce"
	"presence/internal/config"
	"presence/internal/metrics"
	"presence/internal/sdl"
	"presence/resolvers"
)

// each runs a test on every variant.
func each(t *testing.T, test func(t *testing.T, variant string, tm template)) {
	t.Parallel()
	for variant := range variants {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			test(t, variant, synthesized(t, variant).template)
		})
	}
}

func equal[T any](t *testing.T, what string, got any, want T) {
	t.Helper()
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("%s: -want +got:\n%s", what, diff)
	}
}

// Every field of Query, Mutation and Subscription has a resolver. It runs the
// code that the local AppSync runs, and calls the function.
func TestResolvers(t *testing.T) {
	each(t, func(t *testing.T, _ string, tm template) {
		source := tm.one(t, "AWS::AppSync::DataSource")
		equal(t, "data source type", source.prop("Type"), "AWS_LAMBDA")
		if !tm.refersTo(source.prop("LambdaConfig", "LambdaFunctionArn"), tm.one(t, "AWS::Lambda::Function"), "Arn") {
			t.Error("the data source is not the function")
		}
		api, schema := tm.one(t, "AWS::AppSync::GraphQLApi"), tm.one(t, "AWS::AppSync::GraphQLSchema")
		var got []string
		for _, r := range tm.all("AWS::AppSync::Resolver") {
			field := r.prop("TypeName").(string) + "." + r.prop("FieldName").(string)
			got = append(got, field)
			if !tm.refersTo(r.prop("ApiId"), api, "ApiId") || !tm.refersTo(r.prop("DataSourceName"), source, "Name") {
				t.Errorf("%s has another API or data source", field)
			}
			equal(t, field+"'s kind", r.prop("Kind"), "UNIT")
			equal(t, field+"'s code", r.prop("Code"), resolvers.JS)
			equal(t, field+"'s runtime", r.prop("Runtime"), map[string]any{"Name": "APPSYNC_JS", "RuntimeVersion": "1.0.0"})
			if !slices.ContainsFunc(r.DependsOn, func(id string) bool { return tm.Resources[id] == schema }) {
				t.Errorf("%s may be created before the schema", field)
			}
			// A property that is not checked above, such as a mapping template, would
			// change what the resolver does.
			equal(t, field+"'s properties", slices.Sorted(maps.Keys(r.Properties)), []string{"ApiId", "Code", "DataSourceName", "FieldName", "Kind", "Runtime", "TypeName"})
		}
		slices.Sort(got)
		equal(t, "fields", got, resolvers.Fields())
	})
}

func TestAPI(t *testing.T) {
	fieldLogs := map[string]string{"production-nodes": "ALL"}
	each(t, func(t *testing.T, variant string, tm template) {
		api := tm.one(t, "AWS::AppSync::GraphQLApi")
		equal(t, "default mode", api.prop("AuthenticationType"), "AMAZON_COGNITO_USER_POOLS")
		equal(t, "additional modes", api.prop("AdditionalAuthenticationProviders"), []any{map[string]any{"AuthenticationType": "AWS_IAM"}})
		equal(t, "default action", api.prop("UserPoolConfig", "DefaultAction"), "ALLOW")
		equal(t, "verbose logs left out", api.prop("LogConfig", "ExcludeVerboseContent"), true)
		if level, ok := fieldLogs[variant]; ok {
			equal(t, "field logs", api.prop("LogConfig", "FieldLogLevel"), level)
		} else {
			equal(t, "field logs", api.prop("LogConfig", "FieldLogLevel"), "ERROR")
		}
		equal(t, "x-ray", api.prop("XrayEnabled"), variant == "production-nodes")
		// The resolvers need nothing from the API's environment.
		equal(t, "environment", api.prop("EnvironmentVariables"), any(nil))

		schema, err := sdl.Print(presence.Schema)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "schema", tm.one(t, "AWS::AppSync::GraphQLSchema").prop("Definition"), schema)
	})
}

func TestUserPool(t *testing.T) {
	clients := map[string]any{"external-redis": nil, "existing-vpc": "^(client1|client2)$"}
	each(t, func(t *testing.T, variant string, tm template) {
		pool := tm.one(t, "AWS::AppSync::GraphQLApi").prop("UserPoolConfig")
		regex, existing := clients[variant]
		if existing {
			equal(t, "pools created", len(tm.all("AWS::Cognito::UserPool")), 0)
			equal(t, "pool", at(pool, "UserPoolId"), "eu-central-1_Example")
			equal(t, "clients", at(pool, "AppIdClientRegex"), regex)
			return
		}
		created, client := tm.one(t, "AWS::Cognito::UserPool"), tm.one(t, "AWS::Cognito::UserPoolClient")
		if !tm.refersTo(at(pool, "UserPoolId"), created, "") || !tm.refersTo(client.prop("UserPoolId"), created, "") {
			t.Error("the API or the client has another pool")
		}
		equal(t, "clients", tm.text(at(pool, "AppIdClientRegex")), "^(${AWS::Cognito::UserPoolClient})$")
		equal(t, "secret", client.prop("GenerateSecret"), false)
		// D10: Essentials, Cognito's default, costs three times as much a user.
		equal(t, "plan", created.prop("UserPoolTier"), "LITE")
		equal(t, "sign-up", created.prop("AdminCreateUserConfig", "AllowAdminCreateUserOnly"), true)
		if variant == "production-nodes" {
			equal(t, "deletion", []any{created.prop("DeletionProtection"), created.DeletionPolicy}, []any{"ACTIVE", "Retain"})
		} else {
			equal(t, "deletion", []any{created.prop("DeletionProtection"), created.DeletionPolicy}, []any{"INACTIVE", "Delete"})
		}
	})
}

func TestFunction(t *testing.T) {
	each(t, func(t *testing.T, variant string, tm template) {
		function := tm.one(t, "AWS::Lambda::Function")
		equal(t, "runtime", function.prop("Runtime"), "provided.al2023")
		equal(t, "architecture", function.prop("Architectures"), []any{"arm64"})
		equal(t, "timeout", function.prop("Timeout"), config.FunctionTimeout.Seconds())
		equal(t, "subnets", len(function.prop("VpcConfig", "SubnetIds").([]any)), 2)
		if variant == "production-nodes" {
			equal(t, "concurrency", function.prop("ReservedConcurrentExecutions"), 50.0)
			equal(t, "x-ray", function.prop("TracingConfig", "Mode"), "Active")
		} else {
			equal(t, "concurrency", function.prop("ReservedConcurrentExecutions"), any(nil))
			equal(t, "x-ray", function.prop("TracingConfig"), any(nil))
		}
		invoke := tm.one(t, "AWS::Lambda::EventInvokeConfig")
		equal(t, "schedule's retries", invoke.prop("MaximumRetryAttempts"), 0.0)
		equal(t, "schedule's age", invoke.prop("MaximumEventAgeInSeconds"), 60.0)

		for _, logs := range tm.all("AWS::Logs::LogGroup") {
			if variant == "production-nodes" {
				equal(t, "logs", []any{logs.prop("RetentionInDays"), logs.DeletionPolicy}, []any{180.0, "Retain"})
			} else {
				equal(t, "logs", []any{logs.prop("RetentionInDays"), logs.DeletionPolicy}, []any{30.0, "Delete"})
			}
		}
		equal(t, "log format", function.prop("LoggingConfig", "LogFormat"), "JSON")
		equal(t, "logs of Lambda itself", function.prop("LoggingConfig", "SystemLogLevel"), "WARN")
		logs, _ := tm.target(function.prop("LoggingConfig", "LogGroup"))
		if logs == nil || logs.Type != "AWS::Logs::LogGroup" {
			t.Error("the function's log group is not the stack's")
		}
	})
}

// The function's environment is what the configuration it parses writes.
func TestEnvironment(t *testing.T) {
	defaults := config.Config{
		Timing: presence.Timing{Heartbeat: 30 * time.Second, Timeout: 75 * time.Second, Retention: 720 * time.Hour},
		Shards: 16, SweepFor: time.Minute, EventBus: "${AWS::Events::EventBus}", MetricsNamespace: "Presence/presence",
	}
	serverless := config.Redis{
		RedisURL:     "rediss://${AWS::ElastiCache::ServerlessCache.Endpoint.Address}:${AWS::ElastiCache::ServerlessCache.Endpoint.Port}",
		RedisCluster: true, RedisIAMUser: "presence", RedisIAMCache: "presence", RedisIAMServerless: true,
	}
	each(t, func(t *testing.T, variant string, tm template) {
		want := defaults
		switch variant {
		case "production-nodes":
			want.Timing = presence.Timing{Heartbeat: time.Minute, Timeout: 210 * time.Second, Retention: 48 * time.Hour}
			want.Shards, want.SweepFor = 32, 0
			want.MetricsNamespace = "Presence/presence-live"
			want.Redis = config.Redis{
				RedisURL:     "rediss://${AWS::ElastiCache::ReplicationGroup.PrimaryEndPoint.Address}:${AWS::ElastiCache::ReplicationGroup.PrimaryEndPoint.Port}",
				RedisIAMUser: "presence-live", RedisIAMCache: "presence-live",
			}
		case "external-redis":
			want.Redis = config.Redis{
				RedisURL:       "rediss://presence:{{resolve:secretsmanager:redis:SecretString:password}}@redis.example:6390",
				StatusRedisURL: "redis://pages.example", RedisCluster: true,
			}
		case "existing-vpc":
			want.Redis = serverless
			want.RedisIAMCache = tm.one(t, "AWS::ElastiCache::ServerlessCache").prop("ServerlessCacheName").(string)
		default:
			want.Redis = serverless
		}
		vars := tm.environment(t)
		endpoint := vars["AWS_ENDPOINT_URL_EVENTBRIDGE"]
		if !strings.HasPrefix(endpoint, "https://") || !strings.Contains(endpoint, "DnsEntries") {
			t.Errorf("EventBridge is called at %q, not through the endpoint", endpoint)
		}
		delete(vars, "AWS_ENDPOINT_URL_EVENTBRIDGE")
		equal(t, "environment", vars, want.Env())
	})
}

// Nothing leads out: no gateway, no public subnet, and groups that name each
// other.
func TestNetwork(t *testing.T) {
	type way struct{ from, to, ports string }
	eventbridge := way{"${AWS::EC2::SecurityGroup.GroupId}", "${AWS::EC2::SecurityGroup.GroupId}", "443-443"}
	redis := map[string][]way{
		"default":          {{"${AWS::EC2::SecurityGroup.GroupId}", "${AWS::EC2::SecurityGroup.GroupId}", "6379-6380"}},
		"existing-vpc":     {{"${AWS::EC2::SecurityGroup.GroupId}", "${AWS::EC2::SecurityGroup.GroupId}", "6379-6380"}},
		"production-nodes": {{"${AWS::EC2::SecurityGroup.GroupId}", "${AWS::EC2::SecurityGroup.GroupId}", "6379-6379"}},
		"external-redis": {
			{"${AWS::EC2::SecurityGroup.GroupId}", "sg-0123456789abcdef0", "6379-6379"},
			{"${AWS::EC2::SecurityGroup.GroupId}", "sg-0123456789abcdef0", "6390-6390"},
		},
	}
	each(t, func(t *testing.T, variant string, tm template) {
		for _, typ := range []string{"AWS::EC2::NatGateway", "AWS::EC2::InternetGateway", "AWS::EC2::VPCGatewayAttachment", "AWS::EC2::EIP", "AWS::EC2::Route"} {
			equal(t, typ, len(tm.all(typ)), 0)
		}
		switch subnets := tm.one(t, "AWS::Lambda::Function").prop("VpcConfig", "SubnetIds"); variant {
		case "existing-vpc":
			equal(t, "VPCs", len(tm.all("AWS::EC2::VPC")), 0)
			equal(t, "subnets", subnets, []any{"subnet-isolateda1", "subnet-isolatedb1"})
		case "external-redis":
			equal(t, "VPCs", len(tm.all("AWS::EC2::VPC")), 0)
			equal(t, "subnets", subnets, []any{"subnet-privatea1", "subnet-privateb1"})
		default:
			subnets := tm.all("AWS::EC2::Subnet")
			equal(t, "subnets", len(subnets), 2)
			for _, s := range subnets {
				equal(t, "public addresses", s.prop("MapPublicIpOnLaunch"), false)
			}
			if cmp.Equal(subnets[0].prop("AvailabilityZone"), subnets[1].prop("AvailabilityZone")) {
				t.Error("both subnets are in one zone")
			}
		}

		functionGroup, _ := tm.target(tm.one(t, "AWS::Lambda::Function").prop("VpcConfig", "SecurityGroupIds", 0))
		var in, out []way
		for _, r := range tm.all("AWS::EC2::SecurityGroupEgress") {
			if !tm.refersTo(r.prop("GroupId"), functionGroup, "GroupId") {
				t.Error("another than the function is let out")
			}
			out = append(out, way{tm.text(r.prop("GroupId")), tm.text(r.prop("DestinationSecurityGroupId")), tm.text(r.prop("FromPort")) + "-" + tm.text(r.prop("ToPort"))})
		}
		for _, r := range tm.all("AWS::EC2::SecurityGroupIngress") {
			if !tm.refersTo(r.prop("SourceSecurityGroupId"), functionGroup, "GroupId") {
				t.Error("another than the function is let in")
			}
			in = append(in, way{tm.text(r.prop("SourceSecurityGroupId")), tm.text(r.prop("GroupId")), tm.text(r.prop("FromPort")) + "-" + tm.text(r.prop("ToPort"))})
		}
		byPort := func(a, b way) int { return strings.Compare(a.ports, b.ports) }
		slices.SortFunc(in, byPort)
		slices.SortFunc(out, byPort)
		want := append([]way{eventbridge}, redis[variant]...)
		comparer := cmp.Comparer(func(a, b way) bool { return a == b })
		if diff := cmp.Diff(want, out, comparer); diff != "" {
			t.Errorf("ways out: -want +got:\n%s", diff)
		}
		if diff := cmp.Diff(want, in, comparer); diff != "" {
			t.Errorf("ways in: -want +got:\n%s", diff)
		}
		for _, group := range tm.all("AWS::EC2::SecurityGroup") {
			equal(t, "inline ingress", group.prop("SecurityGroupIngress"), any(nil))
			// Without any egress rule the group would let everything out.
			equal(t, "inline egress", at(group.prop("SecurityGroupEgress"), 0, "CidrIp"), "127.0.0.1/32")
			equal(t, "inline egress rules", len(group.prop("SecurityGroupEgress").([]any)), 1)
		}
	})
}

// D11: what one user can use up, and what that can cost, is bounded.
func TestBounds(t *testing.T) {
	concurrency := map[string]any{"production-nodes": 50.0, "production": 100.0}
	check := func(t *testing.T, variant string, tm template) {
		equal(t, "fields a request", tm.one(t, "AWS::AppSync::GraphQLApi").prop("ResolverCountLimit"), 20.0)
		equal(t, "concurrency", tm.one(t, "AWS::Lambda::Function").prop("ReservedConcurrentExecutions"), concurrency[variant])
		for _, cache := range tm.all("AWS::ElastiCache::ServerlessCache") {
			equal(t, "cache", cache.prop("CacheUsageLimits"), map[string]any{
				"DataStorage": map[string]any{"Maximum": 5.0, "Unit": "GB"}, "ECPUPerSecond": map[string]any{"Maximum": 30_000.0},
			})
		}
	}
	t.Run("production", func(t *testing.T) {
		t.Parallel()
		check(t, "production", synthesized(t, "production").template)
	})
	each(t, check)
}

// D11: a service assumes a role for this account alone.
func TestTrust(t *testing.T) {
	each(t, func(t *testing.T, _ string, tm template) {
		services := map[string]int{}
		for _, role := range tm.all("AWS::IAM::Role") {
			statement := role.prop("AssumeRolePolicyDocument", "Statement", 0)
			service := tm.text(at(statement, "Principal", "Service"))
			services[service]++
			if service == "lambda.amazonaws.com" {
				continue // A function's role must be in the function's own account.
			}
			if source := tm.text(at(statement, "Condition", "StringEquals", "aws:SourceAccount")); source != "${AWS::AccountId}" && source != account {
				t.Errorf("%s assumes a role for %q", service, source)
			}
		}
		equal(t, "services", services, map[string]int{"lambda.amazonaws.com": 1, "appsync.amazonaws.com": 2, "events.amazonaws.com": len(announce.Rules())})
	})
}

// The endpoint takes the bus's events from the function's role and nothing
// else, and leaves the VPC's name resolution alone.
func TestEndpoint(t *testing.T) {
	each(t, func(t *testing.T, _ string, tm template) {
		endpoint := tm.one(t, "AWS::EC2::VPCEndpoint")
		if service := tm.text(endpoint.prop("ServiceName")); !strings.HasSuffix(service, ".events") {
			t.Errorf("service %s", service)
		}
		equal(t, "type", endpoint.prop("VpcEndpointType"), "Interface")
		equal(t, "private DNS", endpoint.prop("PrivateDnsEnabled"), false)
		statements := endpoint.prop("PolicyDocument", "Statement").([]any)
		equal(t, "statements", len(statements), 1)
		equal(t, "action", at(statements[0], "Action"), "events:PutEvents")
		if !tm.refersTo(at(statements[0], "Resource"), tm.one(t, "AWS::Events::EventBus"), "Arn") {
			t.Error("the resource is not the bus")
		}
		role, _ := tm.target(tm.one(t, "AWS::Lambda::Function").prop("Role"))
		if !tm.refersTo(at(statements[0], "Condition", "ArnEquals", "aws:PrincipalArn"), role, "Arn") {
			t.Error("the principal is not the function's role")
		}
	})
}

func TestRedis(t *testing.T) {
	each(t, func(t *testing.T, variant string, tm template) {
		serverless, nodes := tm.all("AWS::ElastiCache::ServerlessCache"), tm.all("AWS::ElastiCache::ReplicationGroup")
		switch variant {
		case "external-redis":
			for id, r := range tm.Resources {
				if strings.HasPrefix(r.Type, "AWS::ElastiCache::") {
					t.Errorf("%s is created", id)
				}
			}
			return
		case "production-nodes":
			equal(t, "caches", []int{len(serverless), len(nodes)}, []int{0, 1})
			for property, value := range map[string]any{
				"Engine": "valkey", "CacheNodeType": "cache.m7g.large", "NumCacheClusters": 2.0,
				"AtRestEncryptionEnabled": true, "TransitEncryptionEnabled": true, "TransitEncryptionMode": "required",
				"AutomaticFailoverEnabled": true, "MultiAZEnabled": true,
			} {
				equal(t, property, nodes[0].prop(property), value)
			}
			parameters, _ := tm.target(nodes[0].prop("CacheParameterGroupName"))
			equal(t, "parameters", parameters.prop("Properties"), map[string]any{"maxmemory-policy": "noeviction"})
		default:
			// A serverless cache is encrypted at rest and in transit whatever one says.
			equal(t, "caches", []int{len(serverless), len(nodes)}, []int{1, 0})
			equal(t, "engine", serverless[0].prop("Engine"), "valkey")
		}
		user := tm.one(t, "AWS::ElastiCache::User")
		equal(t, "authentication", user.prop("AuthenticationMode"), map[string]any{"Type": "iam"})
		equal(t, "user name and id", user.prop("UserName"), user.prop("UserId"))
		users := tm.one(t, "AWS::ElastiCache::UserGroup")
		equal(t, "users", len(users.prop("UserIds").([]any)), 1)
		if !tm.refersTo(users.prop("UserIds", 0), user, "") {
			t.Error("the group holds another user")
		}
		cache := append(serverless, nodes...)[0]
		group := cache.prop("UserGroupId")
		if group == nil {
			group = cache.prop("UserGroupIds", 0)
		}
		if !tm.refersTo(group, users, "") {
			t.Error("the cache lets in another group")
		}
	})
}

// D1: any setting can be changed later. CloudFormation refuses an update that
// turns a resource into one of another type, so between no two variants does a
// logical id change its type.
func TestLogicalIDs(t *testing.T) {
	t.Parallel()
	types := map[string]map[string][]string{} // The variants, by id and type.
	for variant := range assemblies {
		for id, r := range synthesized(t, variant).template.Resources {
			if types[id] == nil {
				types[id] = map[string][]string{}
			}
			types[id][r.Type] = append(types[id][r.Type], variant)
		}
	}
	for id, of := range types {
		if len(of) > 1 {
			t.Errorf("%s changes its type: %v", id, of)
		}
	}
	if len(types) < 50 {
		t.Errorf("only %d ids were looked at", len(types))
	}
}

// The rules are those the local EventBridge runs: same pattern, same operation,
// same input.
func TestAnnouncements(t *testing.T) {
	each(t, func(t *testing.T, _ string, tm template) {
		bus, api, letters := tm.one(t, "AWS::Events::EventBus"), tm.one(t, "AWS::AppSync::GraphQLApi"), tm.one(t, "AWS::SQS::Queue")
		equal(t, "dead letters' encryption", letters.prop("SqsManagedSseEnabled"), true)
		rules := map[string]*resource{}
		for _, r := range tm.all("AWS::Events::Rule") {
			if tm.refersTo(r.prop("EventBusName"), bus, "") {
				b, _ := json.Marshal(r.prop("EventPattern"))
				rules[string(b)] = r
			}
		}
		equal(t, "rules on the bus", len(rules), len(announce.Rules()))
		for _, want := range announce.Rules() {
			var pattern any
			if err := json.Unmarshal([]byte(want.Pattern()), &pattern); err != nil {
				t.Fatal(err)
			}
			b, _ := json.Marshal(pattern)
			rule := rules[string(b)]
			if rule == nil {
				t.Errorf("no rule has the pattern %s", b)
				continue
			}
			target := rule.prop("Targets", 0)
			equal(t, "targets", len(rule.prop("Targets").([]any)), 1)
			if !tm.refersTo(at(target, "Arn"), api, "GraphQLEndpointArn") {
				t.Error("the target is not the API")
			}
			equal(t, "operation", at(target, "AppSyncParameters", "GraphQLOperation"), want.Operation())
			paths := map[string]any{}
			for name, path := range want.InputPaths() {
				paths[name] = path
			}
			equal(t, "input", at(target, "InputTransformer"), map[string]any{"InputPathsMap": paths, "InputTemplate": want.InputTemplate()})
			equal(t, "age", at(target, "RetryPolicy", "MaximumEventAgeInSeconds"), 60.0)
			if !tm.refersTo(at(target, "DeadLetterConfig", "Arn"), letters, "Arn") {
				t.Error("no dead letters")
			}

			role, _ := tm.target(at(target, "RoleArn"))
			equal(t, "trusted", at(role.prop("AssumeRolePolicyDocument"), "Statement", 0, "Principal"), map[string]any{"Service": "events.amazonaws.com"})
			equal(t, "role", tm.statements(role), []statement{{"appsync:GraphQL", "${AWS::AppSync::GraphQLApi.Arn}/types/Mutation/fields/" + want.Field}})

			var allowed bool
			for _, s := range tm.one(t, "AWS::SQS::QueuePolicy").prop("PolicyDocument", "Statement").([]any) {
				allowed = allowed || at(s, "Effect") == "Allow" && tm.refersTo(at(s, "Condition", "ArnEquals", "aws:SourceArn"), rule, "Arn")
			}
			if !allowed {
				t.Errorf("the rule for %s may not send dead letters", want.Field)
			}
		}
	})
}

func TestSchedule(t *testing.T) {
	each(t, func(t *testing.T, _ string, tm template) {
		function := tm.one(t, "AWS::Lambda::Function")
		var schedules []*resource
		for _, r := range tm.all("AWS::Events::Rule") {
			if r.prop("ScheduleExpression") != nil {
				schedules = append(schedules, r)
			}
		}
		equal(t, "schedules", len(schedules), 1)
		schedule := schedules[0]
		equal(t, "period", schedule.prop("ScheduleExpression"), "rate(1 minute)")
		equal(t, "state", schedule.prop("State"), "ENABLED")
		// The handler knows the schedule by EventBridge's own event.
		equal(t, "input", []any{schedule.prop("Targets", 0, "Input"), schedule.prop("Targets", 0, "InputTransformer")}, []any{nil, nil})
		equal(t, "retries", schedule.prop("Targets", 0, "RetryPolicy"), map[string]any{"MaximumEventAgeInSeconds": 60.0, "MaximumRetryAttempts": 0.0})
		if !tm.refersTo(schedule.prop("Targets", 0, "Arn"), function, "Arn") {
			t.Error("the target is not the function")
		}
		permission := tm.one(t, "AWS::Lambda::Permission")
		equal(t, "principal", permission.prop("Principal"), "events.amazonaws.com")
		if !tm.refersTo(permission.prop("SourceArn"), schedule, "Arn") {
			t.Error("the schedule may not start the function")
		}
	})
}

func TestArchive(t *testing.T) {
	each(t, func(t *testing.T, variant string, tm template) {
		archives := tm.all("AWS::Events::Archive")
		if variant != "production-nodes" {
			equal(t, "archives", len(archives), 0)
			return
		}
		equal(t, "archives", len(archives), 1)
		equal(t, "days", archives[0].prop("RetentionDays"), 7.0)
	})
}

// statement is an action a role may take, and on what.
type statement struct{ Action, Resource string }

// statements returns everything a role is allowed, sorted.
func (tm template) statements(role *resource) []statement {
	var all []statement
	for _, policy := range tm.all("AWS::IAM::Policy") {
		if !tm.refersTo(policy.prop("Roles", 0), role, "") {
			continue
		}
		for _, s := range policy.prop("PolicyDocument", "Statement").([]any) {
			for _, action := range tm.texts(at(s, "Action")) {
				for _, resource := range tm.texts(at(s, "Resource")) {
					all = append(all, statement{action, resource})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b statement) int {
		return strings.Compare(a.Action+" "+a.Resource, b.Action+" "+b.Resource)
	})
	return all
}

// Who may do what, whole: what is not listed is not allowed.
func TestRoles(t *testing.T) {
	each(t, func(t *testing.T, variant string, tm template) {
		region, account := "${AWS::Region}", "${AWS::AccountId}"
		if variants[variant]["vpcId"] != nil {
			region, account = "eu-central-1", "123456789012"
		}
		interfaces := "arn:${AWS::Partition}:ec2:" + region + ":" + account + ":*/*"
		function := []statement{
			{"ec2:AssignPrivateIpAddresses", interfaces},
			{"ec2:CreateNetworkInterface", interfaces},
			{"ec2:DeleteNetworkInterface", interfaces},
			{"ec2:DescribeNetworkInterfaces", "*"},
			{"ec2:DescribeSubnets", "*"},
			{"ec2:UnassignPrivateIpAddresses", interfaces},
			{"events:PutEvents", "${AWS::Events::EventBus.Arn}"},
			{"logs:CreateLogStream", "${AWS::Logs::LogGroup.Arn}"},
			{"logs:PutLogEvents", "${AWS::Logs::LogGroup.Arn}"},
		}
		switch variant {
		case "production-nodes":
			function = slices.Insert(function, 6,
				statement{"elasticache:Connect", "${AWS::ElastiCache::User.Arn}"},
				statement{"elasticache:Connect", "arn:${AWS::Partition}:elasticache:${AWS::Region}:${AWS::AccountId}:replicationgroup:${AWS::ElastiCache::ReplicationGroup}"})
			function = append(function, statement{"xray:PutTelemetryRecords", "*"}, statement{"xray:PutTraceSegments", "*"})
		case "external-redis":
		default:
			function = slices.Insert(function, 6,
				statement{"elasticache:Connect", "${AWS::ElastiCache::ServerlessCache.ARN}"},
				statement{"elasticache:Connect", "${AWS::ElastiCache::User.Arn}"})
		}
		role := func(reference any) *resource { r, _ := tm.target(reference); return r }
		equal(t, "function", tm.statements(role(tm.one(t, "AWS::Lambda::Function").prop("Role"))), function)
		equal(t, "data source", tm.statements(role(tm.one(t, "AWS::AppSync::DataSource").prop("ServiceRoleArn"))),
			[]statement{{"lambda:InvokeFunction", "${AWS::Lambda::Function.Arn}"}})
		equal(t, "API's logs", tm.statements(role(tm.one(t, "AWS::AppSync::GraphQLApi").prop("LogConfig", "CloudWatchLogsRoleArn"))),
			[]statement{{"logs:CreateLogStream", "${AWS::Logs::LogGroup.Arn}"}, {"logs:PutLogEvents", "${AWS::Logs::LogGroup.Arn}"}})
		// These three, and one a rule, which TestAnnouncements looks at.
		equal(t, "roles", len(tm.all("AWS::IAM::Role")), 3+len(announce.Rules()))
		for _, r := range tm.all("AWS::IAM::Role") {
			equal(t, "managed or inline policies", []any{r.prop("ManagedPolicyArns"), r.prop("Policies")}, []any{nil, nil})
		}
	})
}

func TestAlarms(t *testing.T) {
	common := []string{"ClientErrors", "ConnectErrors", "DeadLetters", "Duration", "Errors", "Latency", "MessagesHeldUp", "PublishFailures", "ServerErrors", "Sweep", "Throttles", "Unannounced", "Unavailable"}
	each(t, func(t *testing.T, variant string, tm template) {
		var got []string
		for _, alarm := range tm.all("AWS::CloudWatch::Alarm") {
			stack, name := "presence", ""
			if variant == "production-nodes" {
				stack = "presence-live"
				equal(t, "actions", alarm.prop("AlarmActions"), []any{"arn:aws:sns:eu-central-1:123456789012:alarms"})
			} else {
				equal(t, "actions", alarm.prop("AlarmActions"), any(nil))
			}
			name = strings.TrimPrefix(alarm.prop("AlarmName").(string), stack+"-")
			got = append(got, name)
			if alarm.prop("AlarmDescription") == nil {
				t.Errorf("%s has no description", name)
			}
			// That nothing sweeps shows as no data at all.
			missing := "notBreaching"
			if name == "Sweep" {
				missing = "breaching"
			}
			equal(t, name+" without data", alarm.prop("TreatMissingData"), missing)
		}
		// D8: a cache of the stack is watched too.
		want := map[string][]string{
			"default": {"CacheLoad", "CacheMemory", "CacheThrottled"}, "existing-vpc": {"CacheLoad", "CacheMemory", "CacheThrottled"},
			"production-nodes": {"CacheLoad", "CacheMemory"}, "external-redis": nil,
		}[variant]
		slices.Sort(got)
		equal(t, "alarms", got, append(want, common...))
	})
}

// What Lambda counts as an error is a failure of the function: calls it refuses
// or asks to try again are successes to Lambda. The second kind has an alarm of
// its own, over every field, from the function's own count.
func TestAlarmsOfErrors(t *testing.T) {
	each(t, func(t *testing.T, _ string, tm template) {
		for _, alarm := range tm.all("AWS::CloudWatch::Alarm") {
			switch name := alarm.prop("AlarmName").(string); {
			case strings.HasSuffix(name, "-Errors"):
				equal(t, "metric", []any{alarm.prop("Namespace"), alarm.prop("MetricName"), alarm.prop("Statistic")}, []any{"AWS/Lambda", "Errors", "Sum"})
				equal(t, "threshold", []any{alarm.prop("ComparisonOperator"), alarm.prop("Threshold")}, []any{"GreaterThanThreshold", 0.0})
			case strings.HasSuffix(name, "-Unavailable"):
				var got []string
				for _, m := range alarm.prop("Metrics").([]any) {
					metric := at(m, "MetricStat", "Metric")
					if metric == nil {
						continue // The sum.
					}
					equal(t, "metric", at(metric, "MetricName"), metrics.Operations.Name)
					equal(t, "result", at(metric, "Dimensions", 1), map[string]any{"Name": "Result", "Value": string(presence.Unavailable)})
					got = append(got, at(metric, "Dimensions", 0, "Value").(string))
				}
				var want []string
				for _, field := range resolvers.Fields() {
					_, name, _ := strings.Cut(field, ".")
					want = append(want, name)
				}
				slices.Sort(got)
				slices.Sort(want)
				equal(t, "fields", got, slices.Compact(want))
				// CloudWatch's quota for an alarm on metric math.
				if len(got) > 10 {
					t.Errorf("the alarm is over %d metrics, and CloudWatch takes 10", len(got))
				}
			}
		}
	})
}

// D8: where a minute may have no data, or good data in bad times, an alarm looks
// at more minutes than have to be bad; none can never go off.
func TestAlarmMinutes(t *testing.T) {
	each(t, func(t *testing.T, _ string, tm template) {
		for _, alarm := range tm.all("AWS::CloudWatch::Alarm") {
			name := alarm.prop("AlarmName").(string)
			of := alarm.prop("EvaluationPeriods").(float64)
			breaching, some := alarm.prop("DatapointsToAlarm").(float64)
			if some && (breaching < 2 || breaching >= of) {
				t.Errorf("%s goes off at %v of %v minutes", name, breaching, of)
			}
			for _, suffix := range []string{"Unannounced", "PublishFailures", "Unavailable", "ClientErrors", "ConnectErrors", "CacheThrottled"} {
				if strings.HasSuffix(name, "-"+suffix) && !some {
					t.Errorf("%s needs %v bad minutes in a row", name, of)
				}
			}
		}
	})
}

// docs/deploy.md says of every alarm what to do, and what they cost.
func TestDocumentedAlarms(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(b), "\n## Alarms\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for _, row := range regexp.MustCompile(`(?m)^\| (\w+) \| [^|]+ \| [^|]+ \|$`).FindAllStringSubmatch(section, -1) {
		if row[1] != "alarm" {
			documented = append(documented, row[1])
		}
	}
	slices.Sort(documented)
	tm := synthesized(t, "default").template
	var deployed []string
	for _, alarm := range tm.all("AWS::CloudWatch::Alarm") {
		deployed = append(deployed, strings.TrimPrefix(alarm.prop("AlarmName").(string), "presence-"))
	}
	slices.Sort(deployed)
	equal(t, "alarms in docs/deploy.md", documented, deployed)
	alarms, _ := tm.usedMetrics(t)
	if price := fmt.Sprintf("| alarms | %d metrics × $0.10 | %.2f |", len(alarms), 0.1*float64(len(alarms))); !strings.Contains(string(b), price) {
		t.Errorf("docs/deploy.md does not say %q", price)
	}
}

// usedMetric is a metric as alarms and dashboard name it.
type usedMetric struct{ Namespace, Name, Dimensions string }

// usedMetrics returns the metrics of the alarms and of the dashboard.
func (tm template) usedMetrics(t *testing.T) (alarms, dashboard []usedMetric) {
	t.Helper()
	add := func(list *[]usedMetric, namespace, name any, dimensions []string) {
		slices.Sort(dimensions)
		*list = append(*list, usedMetric{namespace.(string), name.(string), strings.Join(dimensions, ",")})
	}
	for _, alarm := range tm.all("AWS::CloudWatch::Alarm") {
		stats := []any{map[string]any{"MetricStat": map[string]any{"Metric": alarm.Properties}}}
		if m, ok := alarm.prop("Metrics").([]any); ok {
			stats = m
		}
		for _, stat := range stats {
			metric := at(stat, "MetricStat", "Metric")
			if metric == nil {
				continue // An expression over the others.
			}
			var dimensions []string
			list, _ := at(metric, "Dimensions").([]any)
			for _, d := range list {
				dimensions = append(dimensions, at(d, "Name").(string))
			}
			add(&alarms, at(metric, "Namespace"), at(metric, "MetricName"), dimensions)
		}
	}
	var body struct {
		Widgets []struct {
			Properties struct{ Metrics [][]any }
		}
	}
	if err := json.Unmarshal([]byte(tm.text(tm.one(t, "AWS::CloudWatch::Dashboard").prop("DashboardBody"))), &body); err != nil {
		t.Fatal(err)
	}
	search := regexp.MustCompile(`^SEARCH\('\{"([\w/-]+)",([\w,]+)\} MetricName="(\w+)"', '\w+'\)$`)
	for _, widget := range body.Widgets {
		for _, metric := range widget.Properties.Metrics {
			if expression, ok := at(metric, 0, "expression").(string); ok {
				found := search.FindStringSubmatch(expression)
				if found == nil {
					t.Fatalf("an expression that is no search of ours: %s", expression)
				}
				add(&dashboard, found[1], found[3], strings.Split(found[2], ","))
				continue
			}
			var dimensions []string
			for i := 2; i+1 < len(metric); i += 2 {
				dimensions = append(dimensions, metric[i].(string))
			}
			add(&dashboard, metric[0], metric[1], dimensions)
		}
	}
	return alarms, dashboard
}

// awsMetrics are the metrics of AWS that are used, with their dimensions, as the
// services' pages on monitoring list them.
var awsMetrics = map[string][]string{
	"AWS/AppSync GraphQLAPIId":       {"4XXError", "5XXError", "ActiveConnections", "ActiveSubscriptions", "ConnectClientError", "ConnectServerError", "SubscribeClientError", "SubscribeServerError", "InboundMessageDelayed", "InboundMessageDropped", "Latency", "OutboundMessages", "Requests"},
	"AWS/Lambda FunctionName":        {"ConcurrentExecutions", "Duration", "Errors", "Invocations", "Throttles"},
	"AWS/ElastiCache clusterId":      {"BytesUsedForCache", "ElastiCacheProcessingUnits", "ThrottledCmds"},
	"AWS/ElastiCache CacheClusterId": {"DatabaseMemoryUsagePercentage", "EngineCPUUtilization"},
	"AWS/SQS QueueName":              {"ApproximateNumberOfMessagesVisible"},
}

// Alarms and dashboard name the handler's metrics as the handler does, with the
// dimensions it gives them, and the dashboard shows them all. D7: each deployment
// has a namespace of its own, and the function writes to it.
func TestMetricNames(t *testing.T) {
	each(t, func(t *testing.T, _ string, tm template) {
		namespace := tm.environment(t)["PRESENCE_METRICS_NAMESPACE"]
		var all []usedMetric
		for _, m := range metrics.All() {
			dimensions := slices.Sorted(slices.Values(m.Dimensions))
			all = append(all, usedMetric{namespace, m.Name, strings.Join(dimensions, ",")})
		}
		alarms, dashboard := tm.usedMetrics(t)
		for _, m := range slices.Concat(alarms, dashboard) {
			if !slices.Contains(all, m) && !slices.Contains(awsMetrics[m.Namespace+" "+m.Dimensions], m.Name) {
				t.Errorf("nobody writes %+v", m)
			}
		}
		for _, m := range all {
			if !slices.Contains(dashboard, m) {
				t.Errorf("the dashboard does not show %+v", m)
			}
		}
	})
}

func TestOutputs(t *testing.T) {
	each(t, func(t *testing.T, variant string, tm template) {
		want := map[string]string{
			"GraphQLUrl": "${AWS::AppSync::GraphQLApi.GraphQLUrl}", "RealtimeUrl": "${AWS::AppSync::GraphQLApi.RealtimeUrl}",
			"Region": "${AWS::Region}", "EventBusName": "${AWS::Events::EventBus}",
			"UserPoolId": "eu-central-1_Example", "UserPoolClientId": "${AWS::Cognito::UserPoolClient}",
		}
		switch variant {
		case "external-redis":
			delete(want, "UserPoolClientId")
			want["Region"] = region
		case "existing-vpc":
			want["UserPoolClientId"], want["Region"] = "client1", region
		default:
			want["UserPoolId"] = "${AWS::Cognito::UserPool}"
		}
		got := map[string]string{}
		for name, output := range tm.Outputs {
			got[name] = tm.text(output.Value)
		}
		equal(t, "outputs", got, want)
	})
}

// CloudFormation hands the stack's tags on to everything in it.
func TestTags(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join(synthesized(t, "production-nodes").dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Artifacts map[string]struct {
			Properties struct {
				Tags                  map[string]string
				TerminationProtection bool
			}
		}
	}
	if err := json.Unmarshal(b, &manifest); err != nil {
		t.Fatal(err)
	}
	stack := manifest.Artifacts["presence-live"].Properties
	equal(t, "tags", stack.Tags, map[string]string{"application": "presence", "name": "presence-live", "stage": "production"})
	equal(t, "termination protection", stack.TerminationProtection, true)
}
