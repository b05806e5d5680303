# An AMI of a role, by Packer: the script `bake` at work on a disk of its own.
#
#   packer init packaging/image/image.pkr.hcl
#   packer build -var role=web -var server=web-1 -var package=node-agent_0.1.0_amd64.deb \
#                -var config=agentd.toml -var document=/srv/fleet/fleet.json packaging/image/image.pkr.hcl
#
# Run it as root on an EC2 instance of the distribution that the image is made of. The builder makes a volume of the source
# AMI, attaches it to that instance and mounts it; `bake --in` works there; the volume becomes the AMI. Nothing is ever
# booted from it, so nothing that a boot leaves has to be found and removed.
#
# The instance needs the rights that Packer's amazon-chroot builder lists (volumes, snapshots, images). The image
# needs none: give the machines an instance role with the policy of their role (../iam).
# This template is checked for its syntax; it was not run against AWS.

packer {
  required_version = ">= 1.9.0"
  required_plugins {
    amazon = {
      version = ">= 1.3.0"
      source  = "github.com/hashicorp/amazon"
    }
  }
}

variable "role" {
  type        = string
  description = "web, memcached, database or monitor."
  validation {
    condition     = contains(["web", "memcached", "database", "monitor"], var.role)
    error_message = "The role must be web, memcached, database or monitor."
  }
}

variable "server" {
  type        = string
  description = "The server of the document that the image is converged as: one of the role."
}

variable "package" {
  type        = string
  description = "The agent's .deb or .rpm, on this instance."
}

variable "config" {
  type        = string
  description = "The machines' agentd.toml. Without node: an instance finds itself by its id, or by its tag agentd-node."
}

variable "document" {
  type        = string
  description = "The fleet document as it is published now; its file must be called fleet.json."
  validation {
    condition     = basename(var.document) == "fleet.json"
    error_message = "The document's file must be called fleet.json."
  }
}

variable "install" {
  type        = map(string)
  description = "What each role serves with: the distribution's packages."
  default = {
    web       = "apache2,cron"
    memcached = "memcached,cron"
    database  = "mariadb-server,nftables,cron"
    monitor   = "munin,nagios4,cron"
  }
}

variable "region" {
  type    = string
  default = "us-east-1"
}

# Debian's own account and images. For CentOS's family: the vendor's, and `install` with httpd and cronie.
variable "source_owner" {
  type    = string
  default = "136693071363"
}

variable "source_name" {
  type    = string
  default = "debian-12-amd64-*"
}

source "amazon-chroot" "image" {
  region      = var.region
  ami_name    = "node-agent-${var.role}-{{timestamp}}"
  ena_support = true

  # The agent speaks version 2 of the metadata service only. That an instance can read its own tag agentd-node is a matter
  # of its launch: --metadata-options InstanceMetadataTags=enabled.
  imds_support = "v2.0"

  source_ami_filter {
    filters = {
      name                = var.source_name
      virtualization-type = "hvm"
      root-device-type    = "ebs"
    }
    owners      = [var.source_owner]
    most_recent = true
  }

  # On this instance, with the disk mounted, before Packer itself enters it. Two braces are Packer's, filled in at that moment.
  post_mount_commands = [
    join(" ", [
      "'${path.root}/bake' --in '{{.MountPath}}' --role '${var.role}' --as '${var.server}'",
      "--install '${var.install[var.role]}' --package '${var.package}' --config '${var.config}'",
      "--fleet \"file://$(dirname \"$(realpath '${var.document}')\")\"",
    ]),
  ]

  tags = {
    Name = "node-agent-${var.role}"
    role = var.role
  }
}

build {
  sources = ["source.amazon-chroot.image"]

  # Which image was made, for whoever launches it.
  post-processor "manifest" {
    output = "image.json"
  }
}
