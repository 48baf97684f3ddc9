// Command app is the CDK app: cdk runs it to learn what to deploy.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"presence/infra"
)

func main() {
	err := synth(context.Background())
	jsii.Close()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func synth(ctx context.Context) error {
	app := awscdk.NewApp(&awscdk.AppProps{AnalyticsReporting: jsii.Bool(false)})
	values, _ := app.Node().GetAllContext(nil).(map[string]any)
	c, err := infra.ParseContext(values)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "presence-")
	if err != nil {
		return err
	}
	// The CDK has its own copy by then. A folder that cannot be removed stays in
	// the system's folder for temporary files.
	defer func() { _ = os.RemoveAll(dir) }()
	function, err := infra.BuildFunction(ctx, dir)
	if err != nil {
		return err
	}
	if _, err := infra.NewStack(app, c, infra.Options{
		Function: function, Account: os.Getenv("CDK_DEFAULT_ACCOUNT"), Region: os.Getenv("CDK_DEFAULT_REGION"),
	}); err != nil {
		return err
	}
	app.Synth(nil)
	return nil
}
