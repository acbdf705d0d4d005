// Command validate reads an OpenAPI 3 document on standard input and has kin-openapi judge it,
// examples included. Exit code 0: nothing is wrong; 1: what is wrong is on standard error.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/getkin/kin-openapi/openapi3"
)

func main() {
	if err := validate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func validate() error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	document, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return err
	}
	return document.Validate(context.Background())
}
