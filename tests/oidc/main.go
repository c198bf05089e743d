// SPDX-License-Identifier: GPL-2.0-or-later

// A relying party that knows nothing of this project: `oidc ISSUER CA-FILE AUDIENCE < token > claims`.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
)

func client(path string) (*http.Client, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in " + path)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authorities}}}, nil
}

func check(issuer, authorities, audience string) error {
	web, err := client(authorities)
	if err != nil {
		return err
	}
	ctx := oidc.ClientContext(context.Background(), web)
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	token, err := provider.Verifier(&oidc.Config{ClientID: audience}).Verify(ctx, strings.TrimSpace(string(raw)))
	if err != nil {
		return err
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(claims)
}

func main() {
	if err := check(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}
