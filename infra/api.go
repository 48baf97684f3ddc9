package infra

import (
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsappsync"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscognito"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/jsii-runtime-go"

	"presence/internal/wire"
	"presence/resolvers"
)

// users is the user pool whose users may call.
type users struct {
	poolID string
	// clientIDs are the app clients that may call; empty means all of the pool's.
	clientIDs []string
}

// plans are Cognito's, by what userPoolPlan may be.
var plans = map[string]awscognito.FeaturePlan{
	"lite": awscognito.FeaturePlan_LITE, "essentials": awscognito.FeaturePlan_ESSENTIALS, "plus": awscognito.FeaturePlan_PLUS,
}

// newUsers adds the user pool, or takes the existing one.
func newUsers(stack awscdk.Stack, c Context) users {
	if c.UserPoolID != "" {
		return users{c.UserPoolID, c.UserPoolClientIDs}
	}
	pool := awscognito.NewUserPool(stack, jsii.String("Users"), &awscognito.UserPoolProps{
		FeaturePlan:       plans[c.UserPoolPlan],
		SignInAliases:     &awscognito.SignInAliases{Email: jsii.Bool(true)},
		SelfSignUpEnabled: jsii.Bool(false),
		AutoVerify:        &awscognito.AutoVerifiedAttrs{Email: jsii.Bool(true)},
		AccountRecovery:   awscognito.AccountRecovery_EMAIL_ONLY,
		Mfa:               awscognito.Mfa_OPTIONAL,
		MfaSecondFactor:   &awscognito.MfaSecondFactor{Otp: jsii.Bool(true), Sms: jsii.Bool(false)},
		PasswordPolicy: &awscognito.PasswordPolicy{
			MinLength: jsii.Number(12), RequireDigits: jsii.Bool(true), RequireLowercase: jsii.Bool(true), RequireUppercase: jsii.Bool(true), RequireSymbols: jsii.Bool(true),
		},
		DeletionProtection: jsii.Bool(c.Stage == production),
		RemovalPolicy:      c.removalPolicy(),
	})
	suppress(pool, "A second factor is each user's choice: presence shows no more than a colleague across the room sees. A pool with stricter rules is given as userPoolId.", "AwsSolutions-COG2")
	suppress(pool, "Threat protection takes Cognito's Plus plan, at a price for each user that is many times the rest. A pool that has it is given as userPoolId.", "AwsSolutions-COG3")
	client := pool.AddClient(jsii.String("Client"), &awscognito.UserPoolClientOptions{
		// Browsers and apps keep no secret.
		GenerateSecret:             jsii.Bool(false),
		AuthFlows:                  &awscognito.AuthFlow{UserSrp: jsii.Bool(true)},
		DisableOAuth:               jsii.Bool(true),
		PreventUserExistenceErrors: jsii.Bool(true),
		EnableTokenRevocation:      jsii.Bool(true),
	})
	return users{*pool.UserPoolId(), []string{*client.UserPoolClientId()}}
}

// newAPI adds the GraphQL API: the schema, and a resolver for every field of
// Query, Mutation and Subscription. All resolvers run the same code, and all call
// the function. The L1 constructs say exactly what is deployed; the L2 constructs
// would add wider policies and a function for log retention.
func newAPI(stack awscdk.Stack, c Context, schema string, users users, function awslambda.Function) awsappsync.CfnGraphQLApi {
	logRole := awsiam.NewRole(stack, jsii.String("ApiLogRole"), &awsiam.RoleProps{AssumedBy: servicePrincipal(stack, "appsync.amazonaws.com")})
	pool := &awsappsync.CfnGraphQLApi_UserPoolConfigProperty{
		UserPoolId: &users.poolID, AwsRegion: stack.Region(),
		// Who is not denied by a directive is let in: AppSync demands this as soon as
		// there is a second mode.
		DefaultAction: jsii.String("ALLOW"),
	}
	if len(users.clientIDs) > 0 {
		pool.AppIdClientRegex = jsii.String("^(" + strings.Join(users.clientIDs, "|") + ")$")
	}
	api := awsappsync.NewCfnGraphQLApi(stack, jsii.String("Api"), &awsappsync.CfnGraphQLApiProps{
		Name:               stack.StackName(),
		AuthenticationType: jsii.String(string(wire.ModeUserPools)),
		UserPoolConfig:     pool,
		AdditionalAuthenticationProviders: []any{
			&awsappsync.CfnGraphQLApi_AdditionalAuthenticationProviderProperty{AuthenticationType: jsii.String(string(wire.ModeIAM))},
		},
		LogConfig: &awsappsync.CfnGraphQLApi_LogConfigProperty{
			CloudWatchLogsRoleArn: logRole.RoleArn(),
			FieldLogLevel:         &c.FieldLogs,
			// Verbose content is headers, with the token, and variables, with the page.
			ExcludeVerboseContent: jsii.Bool(true),
		},
		XrayEnabled: jsii.Bool(c.XRay),
		// Each field of a request runs the function. Without a limit, a request of
		// 15,000 tokens could run it thousands of times. Clients ask for one or two
		// fields at a time.
		ResolverCountLimit: jsii.Number(wire.ResolverCountLimit),
	})
	suppress(api, "Requests are logged, but without their verbose content: it holds the token and the pages people are on.", "AwsSolutions-ASC3")
	logs := newLogGroup(stack, "ApiLogs", c, jsii.String("/aws/appsync/apis/"+*api.AttrApiId()))
	logRole.AddToPolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Actions: jsii.Strings("logs:CreateLogStream", "logs:PutLogEvents"), Resources: &[]*string{logs.AttrArn()},
	}))

	definition := awsappsync.NewCfnGraphQLSchema(stack, jsii.String("Schema"), &awsappsync.CfnGraphQLSchemaProps{
		ApiId: api.AttrApiId(), Definition: &schema,
	})
	invokeRole := awsiam.NewRole(stack, jsii.String("ApiInvokeRole"), &awsiam.RoleProps{AssumedBy: servicePrincipal(stack, "appsync.amazonaws.com")})
	invokeRole.AddToPolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Actions: jsii.Strings("lambda:InvokeFunction"), Resources: &[]*string{function.FunctionArn()},
	}))
	source := awsappsync.NewCfnDataSource(stack, jsii.String("Handler"), &awsappsync.CfnDataSourceProps{
		ApiId:          api.AttrApiId(),
		Name:           jsii.String("handler"),
		Type:           jsii.String("AWS_LAMBDA"),
		ServiceRoleArn: invokeRole.RoleArn(),
		LambdaConfig:   &awsappsync.CfnDataSource_LambdaConfigProperty{LambdaFunctionArn: function.FunctionArn()},
	})
	for _, f := range resolvers.Fields() {
		parent, name, _ := strings.Cut(f, ".")
		resolver := awsappsync.NewCfnResolver(stack, jsii.String(parent+name), &awsappsync.CfnResolverProps{
			ApiId: api.AttrApiId(), TypeName: &parent, FieldName: &name, DataSourceName: source.AttrName(),
			Kind: jsii.String("UNIT"),
			Code: jsii.String(resolvers.JS),
			Runtime: &awsappsync.CfnResolver_AppSyncRuntimeProperty{
				Name: jsii.String("APPSYNC_JS"), RuntimeVersion: jsii.String("1.0.0"),
			},
		})
		resolver.AddResourceDependency(definition, nil)
	}
	return api
}
