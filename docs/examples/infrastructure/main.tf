# SPDX-License-Identifier: GPL-2.0-or-later
# The same as cloudformation.yaml, as a Terraform module: three roles, and an alarm on what undoes the key policy. The
# key is a file beside it (muctl policy kms --format terraform -o key.tf.json), applied as the role key_admin.

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "alarm_address" {
  description = "E-mail address that hears of each change of a key policy, grant or deletion"
  type        = string
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

data "aws_iam_policy_document" "ec2" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

# Of the instances that unlock. It has no IAM policy for the key: the key policy names it.
resource "aws_iam_role" "instance" {
  name_prefix        = "measured-unlock-instance-"
  assume_role_policy = data.aws_iam_policy_document.ec2.json
}

resource "aws_iam_instance_profile" "instance" {
  name_prefix = "measured-unlock-instance-"
  role        = aws_iam_role.instance.name
}

# Of the machine that builds and enrolls images: Encrypt by the key policy, nothing else.
resource "aws_iam_role" "builder" {
  name_prefix        = "measured-unlock-builder-"
  assume_role_policy = data.aws_iam_policy_document.ec2.json
}

resource "aws_iam_instance_profile" "builder" {
  name_prefix = "measured-unlock-builder-"
  role        = aws_iam_role.builder.name
}

# Of the people who change the key policy, with MFA.
data "aws_iam_policy_document" "people" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"]
    }
    condition {
      test     = "Bool"
      variable = "aws:MultiFactorAuthPresent"
      values   = ["true"]
    }
  }
}

data "aws_iam_policy_document" "create_keys" {
  statement {
    actions   = ["kms:CreateKey"]
    resources = ["*"]
  }
}

resource "aws_iam_role" "key_admin" {
  name_prefix        = "measured-unlock-key-admin-"
  assume_role_policy = data.aws_iam_policy_document.people.json
}

resource "aws_iam_role_policy" "key_admin" {
  role   = aws_iam_role.key_admin.name
  policy = data.aws_iam_policy_document.create_keys.json
}

resource "aws_sns_topic" "alarm" {
  name_prefix = "measured-unlock-alarm-"
}

resource "aws_sns_topic_subscription" "alarm" {
  topic_arn = aws_sns_topic.alarm.arn
  protocol  = "email"
  endpoint  = var.alarm_address
}

data "aws_iam_policy_document" "alarm" {
  statement {
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarm.arn]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.alarm.arn]
    }
  }
}

resource "aws_sns_topic_policy" "alarm" {
  arn    = aws_sns_topic.alarm.arn
  policy = data.aws_iam_policy_document.alarm.json
}

# CloudTrail delivers management events to EventBridge where a trail logs them.
resource "aws_cloudwatch_event_rule" "alarm" {
  name_prefix = "measured-unlock-"
  description = "Somebody changed who may have a key of measured-unlock, or whether it lives"
  event_pattern = jsonencode({
    source      = ["aws.kms"]
    detail-type = ["AWS API Call via CloudTrail"]
    detail = {
      eventSource = ["kms.amazonaws.com"]
      eventName   = ["PutKeyPolicy", "CreateGrant", "ScheduleKeyDeletion", "DisableKey", "ReplicateKey"]
    }
  })
}

resource "aws_cloudwatch_event_target" "alarm" {
  rule = aws_cloudwatch_event_rule.alarm.name
  arn  = aws_sns_topic.alarm.arn
}

output "principal" {
  description = "muctl policy kms --principal"
  value       = aws_iam_role.instance.arn
}

output "builder" {
  description = "muctl policy kms --builder"
  value       = aws_iam_role.builder.arn
}

output "admin" {
  description = "muctl policy kms --admin"
  value       = aws_iam_role.key_admin.arn
}

output "instance_profile" {
  description = "aws ec2 run-instances --iam-instance-profile Name="
  value       = aws_iam_instance_profile.instance.name
}

output "builder_profile" {
  description = "packer build -var instance_profile="
  value       = aws_iam_instance_profile.builder.name
}
