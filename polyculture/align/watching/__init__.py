"""What a training is watched for."""
