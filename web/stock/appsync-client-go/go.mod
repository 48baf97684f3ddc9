module stock

go 1.26.0

require (
	github.com/aws/aws-sdk-go v1.28.11
	github.com/sony/appsync-client-go v1.2.1
)

require (
	github.com/cenkalti/backoff v2.1.1+incompatible // indirect
	github.com/eclipse/paho.mqtt.golang v1.1.1 // indirect
	github.com/google/uuid v1.1.1 // indirect
	github.com/gorilla/websocket v1.4.0 // indirect
	github.com/jmespath/go-jmespath v0.0.0-20180206201540-c2b33e8439af // indirect
	golang.org/x/net v0.0.0-20181220203305-927f97764cc3 // indirect
)
