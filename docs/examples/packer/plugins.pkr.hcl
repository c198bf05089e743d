# SPDX-License-Identifier: GPL-2.0-or-later
# In a file of its own: Packer 1.7 and later download the plugin, older ones have it built in and
# do not know this block. Before 1.8.1 the plugin gave up where EC2 does not know yet a snapshot or an
# image that it has just made (InvalidSnapshot.NotFound, InvalidAMIID.NotFound), after all the work.
packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.8.1"
    }
  }
}
