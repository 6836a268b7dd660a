package org.harexport.demo.ui

import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.rememberScrollState
import androidx.compose.foundation.verticalScroll
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.runtime.getValue
import androidx.compose.ui.Modifier
import androidx.compose.ui.platform.LocalContext
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.unit.dp
import androidx.lifecycle.compose.collectAsStateWithLifecycle
import org.harexport.demo.ModelState
import org.harexport.demo.R
import org.harexport.demo.demo

/** Data, license, citation and privacy. */
@Composable
fun AboutScreen() {
    val context = LocalContext.current
    val state by context.demo.model.states.collectAsStateWithLifecycle()
    val version = context.packageManager.getPackageInfo(context.packageName, 0).versionName.orEmpty()
    Column(Modifier.fillMaxSize().verticalScroll(rememberScrollState()).padding(16.dp), verticalArrangement = Arrangement.spacedBy(12.dp)) {
        Text(stringResource(R.string.about_version, version), style = MaterialTheme.typography.titleLarge)
        (state as? ModelState.Verified)?.let {
            Badge(R.drawable.ic_good, stringResource(R.string.selftest_verified))
            Text(stringResource(R.string.about_verified, it.model.golden.windows.size))
        }
        Section(R.string.about_privacy) { Text(stringResource(R.string.about_privacy_text)) }
        Section(R.string.about_limits) { Text(stringResource(R.string.about_limits_text)) }
        Section(R.string.about_data) { Text(stringResource(R.string.about_data_text)) }
        Section(R.string.about_license) { Text(stringResource(R.string.about_license_text)) }
    }
}
