# SPDX-License-Identifier: GPL-2.0-or-later
# An AMI whose root is encrypted and unlocks by itself, if and only if it boots as built.

variable "region" {
  type = string
}

variable "instance_profile" {
  type        = string
  description = "Of the builder: may do kms:Encrypt with the key, and nothing else with it."
}

variable "input" {
  type        = string
  default     = "input/"
  description = "Folder with image.conf and what it names, see README.md; with a slash at the end."
}

variable "output" {
  type        = string
  default     = "output.tar"
  description = "Baseline, record and key policy of the image that was made."
}

variable "name" {
  type    = string
  default = "measured-unlock"
}

variable "architecture" {
  type        = string
  default     = "x86_64"
  description = "As EC2 calls it: x86_64, or arm64 for Graviton. The builder has it, too."
  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "EC2 calls its architectures x86_64 and arm64."
  }
}

variable "instance_type" {
  type        = string
  default     = ""
  description = "Of the builder; empty: c7i.large or c7g.large."
}

variable "packages" {
  type        = string
  default     = "mmdebstrap"
  description = "What 30-system needs on the builder: mmdebstrap, or dnf."
}

variable "subnet_id" {
  type        = string
  default     = ""
  description = "Where the builder runs; empty: a subnet of the default VPC."
}

variable "ssh_from" {
  type        = list(string)
  default     = ["0.0.0.0/0"]
  description = "Networks from which the builder takes SSH, as CIDR."
}

variable "volume_size" {
  type    = number
  default = 8
}

variable "uefi_data" {
  type        = string
  default     = ""
  description = "With Secure Boot: file with the variable store, see README.md."
}

locals {
  debian_architecture = var.architecture == "arm64" ? "arm64" : "amd64"
  instance_type = var.instance_type != "" ? var.instance_type : (
  var.architecture == "arm64" ? "c7g.large" : "c7i.large")
  variable_store = var.uefi_data == "" ? "" : file(var.uefi_data)
}

source "amazon-ebssurrogate" "image" {
  region               = var.region
  instance_type        = local.instance_type
  iam_instance_profile = var.instance_profile
  ssh_username         = "admin"
  subnet_id            = var.subnet_id

  temporary_security_group_source_cidrs = var.ssh_from

  source_ami_filter {
    owners      = ["136693071363"] # Debian
    most_recent = true
    filters = {
      name                = "debian-13-${local.debian_architecture}-*"
      virtualization-type = "hvm"
      root-device-type    = "ebs"
    }
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvdf"
    volume_size           = var.volume_size
    volume_type           = "gp3"
    iops                  = 3000
    throughput            = 125
    delete_on_termination = true
  }

  ami_root_device {
    source_device_name    = "/dev/xvdf"
    device_name           = "/dev/xvda"
    volume_size           = var.volume_size
    volume_type           = "gp3"
    delete_on_termination = true
  }

  ami_name                = "${var.name}-{{timestamp}}"
  ami_description         = "Its root is encrypted and unlocks if it boots as built (measured-unlock)"
  ami_virtualization_type = "hvm"
  ami_architecture        = var.architecture
  ena_support             = true
  boot_mode               = "uefi"
  uefi_data               = local.variable_store
  tpm_support             = "v2.0"
  imds_support            = "v2.0"
}

build {
  sources = ["source.amazon-ebssurrogate.image"]

  # A tmpfs: keys never touch the builder's disk.
  provisioner "shell" {
    inline = [
      "sudo mkdir -p /mnt/image",
      "sudo mount -t tmpfs -o mode=0700,uid=$(id -u),size=512m image /mnt/image",
      "mkdir /mnt/image/in",
      "sudo apt-get update -q",
      "sudo apt-get install -qy --no-install-recommends ${var.packages} cryptsetup-bin fdisk mtools e2fsprogs sbsigntool",
    ]
  }

  provisioner "file" {
    source      = var.input
    destination = "/mnt/image/in"
  }

  provisioner "shell" {
    inline = ["chmod -R go= /mnt/image/in"]
  }

  provisioner "shell" {
    execute_command = "sudo sh '{{.Path}}' /mnt/image/in/image.conf"
    scripts = [
      "${path.root}/provision/10-partition",
      "${path.root}/provision/20-encrypt",
      "${path.root}/provision/25-open",
      "${path.root}/provision/30-system",
      "${path.root}/provision/35-configure",
      "${path.root}/provision/37-bake",
      "${path.root}/provision/40-image",
      "${path.root}/provision/42-sign",
      "${path.root}/provision/45-close",
      "${path.root}/provision/50-esp",
      "${path.root}/provision/60-baseline",
      "${path.root}/provision/70-enroll",
      "${path.root}/provision/80-policy",
    ]
  }

  # The AMI gets the keys that its image was made for, or no Secure Boot if that was made for none.
  provisioner "shell" {
    inline = [local.variable_store == "" ? "sudo test ! -e /mnt/image/out/uefi-data" :
    "printf %s '${local.variable_store}' | sudo cmp - /mnt/image/out/uefi-data"]
  }

  provisioner "shell" {
    inline = ["sudo tar --create --file=/mnt/image/output.tar --directory=/mnt/image/out --mode=a+r ."]
  }

  provisioner "file" {
    direction   = "download"
    source      = "/mnt/image/output.tar"
    destination = var.output
  }
}
