// SPDX-License-Identifier: GPL-2.0-or-later

// HashiCorp Vault as it comes, server and client, for the tests: see README.md.
package main

import (
	"os"

	"github.com/hashicorp/vault/command"
)

func main() { os.Exit(command.Run(os.Args[1:])) }
