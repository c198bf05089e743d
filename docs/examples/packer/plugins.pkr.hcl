# SPDX-License-Identifier: GPL-2.0-or-later
# In a file of its own: Packer 1.7 and later download the plugin, older ones have it built in and
# do not know this block.
packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.3.0"
    }
  }
}
